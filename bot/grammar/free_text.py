"""What people write to the bot where they could as well write to a model: a command, or a question."""

from collections.abc import Mapping

from pydantic import ValidationError

from bot.core.chat.errors import UserError
from bot.grammar.command import Command, by_word
from bot.grammar.parsing import LONGEST, PREFIX, pair
from bot.grammar.suggestions import Names, similar

SLIP_OF_A_VERB = 75.0
"""In free text a word must be nearer to a verb than after `/llm` to count as a slip of it."""


def understand(text: str, commands: Mapping[str, type[Command]], names: Names) -> str:
    """Free text as a line: a command, or a slip of one, stays; all else is a question to a model."""
    line = PREFIX.sub("", text[:LONGEST], count=1).strip()
    if line != text.strip() or not line or _meant(line, commands, names):
        return line
    return f"ask {line}"


def _meant(line: str, commands: Mapping[str, type[Command]], names: Names) -> bool:
    """`stop my-llama` is a command, and so is `stop mi-lama`; `stop words are what?` is a question."""
    verb, _, rest = line.partition(" ")
    first = rest.split()[0] if rest.split() else ""
    about_something = not first or similar(first, (*names("model"), *names("workload"))) is not None
    words = by_word(commands)
    command = words.get(verb.lower())
    if command is None:
        guess = similar(verb, words, SLIP_OF_A_VERB)
        return guess is not None and about_something
    try:
        given, _, surplus = pair(command, rest)
        command.model_validate(given)
    except (UserError, ValidationError):
        return "=" in rest or about_something
    return not surplus
