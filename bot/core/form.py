"""A command with blanks: what a person fills in becomes the line that could have been typed."""

from collections.abc import Mapping
from dataclasses import dataclass

from bot.core.text import Text


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a field, and words for it."""

    value: str
    label: Text


@dataclass(frozen=True, slots=True)
class Blank:
    """One field: `name` as it is typed. Without choices it is written in; `long` on several lines."""

    name: str
    label: Text
    choices: tuple[Choice, ...] = ()
    given: str = ""
    required: bool = False
    long: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """`line` is the beginning of the command. `check` is a verb that takes the same arguments and
    only tells what would happen."""

    title: Text
    line: str
    blanks: tuple[Blank, ...]
    submit: Text
    check: str = ""

    def typed(self, values: Mapping[str, str], verb: str = "") -> str:
        """The line with the blanks filled in; `verb` in the place of its own."""
        words = [verb or self.line]
        for blank in self.blanks:
            if value := values.get(blank.name, "").strip():
                words.append(value if blank.required else f'{blank.name}="{value}"')
        return " ".join(words)
