"""A command with blanks: what a person fills in becomes the line that could have been typed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bot.core.chat.text import Text


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a field, and words for it."""

    value: str
    label: Text


@dataclass(frozen=True, slots=True)
class Blank:
    """One field: `name` as it is typed. Without choices it is written in; `long` on several lines;
    `checked` fields decide whether it would work."""

    name: str
    label: Text
    choices: tuple[Choice, ...] = ()
    given: str = ""
    required: bool = False
    long: bool = False
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """`line` is the beginning of the command; `check` a verb that takes the checked fields and only
    tells what would happen."""

    title: Text
    line: str
    blanks: tuple[Blank, ...]
    submit: Text
    check: str = ""


def filled_line(line: str, required: Collection[str], values: Mapping[str, str]) -> str:
    """The line with the blanks filled in; the quotes of an option would end it early."""
    words = [line, *(values[name].strip() for name in required if values.get(name))]
    for name, value in values.items():
        if value.strip() and name not in required:
            words.append('{}="{}"'.format(name, value.strip().replace('"', "")))
    return " ".join(words)
