"""Text that people write to the bot without `/llm`: is it a command, or a question to a model?"""

from collections.abc import Mapping

from pydantic import ValidationError

from bot.core.chat.errors import UserError
from bot.grammar.command import Command, by_word
from bot.grammar.parsing import LONGEST, PREFIX, pair
from bot.grammar.suggestions import Names, similar

SLIP_OF_A_VERB = 75.0
"""How similar a word must be to a verb to count as a mistyped one, from 0 to 100; higher than after
`/llm`."""


def understand(text: str, commands: Mapping[str, type[Command]], names: Names) -> str:
    """The line that the text stands for: a command, mistyped or not, stays as it is; any other text becomes
    `ask TEXT`."""
    line = PREFIX.sub("", text[:LONGEST], count=1).strip()
    if line != text.strip() or not line or _is_command(line, commands, names):
        return line
    return f"ask {line}"


def _is_command(line: str, commands: Mapping[str, type[Command]], names: Names) -> bool:
    """`stop my-llama` is a command, and so is `stop mi-lama`; `stop words are what?` is a question."""
    verb, _, rest = line.partition(" ")
    first = rest.split()[0] if rest.split() else ""
    names_something = not first or similar(first, (*names("model"), *names("workload"))) is not None
    words = by_word(commands)
    command = words.get(verb.lower())
    if command is None:
        guess = similar(verb, words, SLIP_OF_A_VERB)
        return guess is not None and names_something
    try:
        arguments, _, surplus = pair(command, rest)
        command.model_validate(arguments)
    except (UserError, ValidationError):
        return "=" in rest or names_something
    return not surplus
