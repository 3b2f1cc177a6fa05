"""What people write to the bot where they could as well write to a model: a command, or a question."""

from collections.abc import Mapping

from bot.commands.base import Command
from bot.commands.parsing import LONGEST, PREFIX, pair
from bot.commands.slips import Names, similar
from bot.core.errors import UserError

SLIP_OF_A_VERB = 75.0
"""In free text a word must be nearer to a verb than after `/llm` to count as a slip of it."""


def understand(text: str, commands: Mapping[str, type[Command]], names: Names) -> str:
    """Free text as a line: a command, or a slip of one, stays; all else is a question to a model."""
    line = PREFIX.sub("", text[:LONGEST], count=1).strip()
    if line != text.strip() or not line or _meant(line, commands, names):
        return line
    return f"ask {line}"


def _meant(line: str, commands: Mapping[str, type[Command]], names: Names) -> bool:
    """`stop llama` is a command and `stop words are what?` is not: commands have no words too many."""
    verb, *rest = line.split(maxsplit=1)
    command = commands.get(verb.lower())
    if command is None:
        guess = similar(verb, commands, SLIP_OF_A_VERB)
        command = commands[guess] if guess else None
        word = rest[0].split()[0] if rest else ""
        if command is None or (word and not similar(word, (*names("model"), *names("workload")))):
            return False
    try:
        return not pair(command, rest[0] if rest else "")[2]
    except UserError:
        return True
