"""A form that asks for a command's arguments: what a person fills in becomes the line that could have been
typed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bot.core.chat.text import Text


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the values that a person can pick for a blank."""

    value: str
    """The value as it is typed: `gptq`."""
    label: Text
    """What the person sees: `GPTQ 4-bit`."""


@dataclass(frozen=True, slots=True)
class Blank:
    """One input field of a form."""

    name: str
    """The argument's name as it is typed: `max-len`."""
    label: Text
    """What the person reads above the field."""
    choices: tuple[Choice, ...] = ()
    """The values to pick from; empty: the person writes one."""
    value: str = ""
    """What the field holds when the form opens, as it is typed; empty: nothing."""
    required: bool = False
    """The form cannot be sent without it."""
    multiline: bool = False
    """It takes several lines of text."""
    checked: bool = False
    """Its value goes to `Form.check` as soon as it changes."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form as a platform is to show it."""

    title: Text
    """What stands above it."""
    line: str
    """The beginning of the command that it completes: `deploy`, `ask llama-3-8b`."""
    blanks: tuple[Blank, ...]
    """Its input fields, in the order of the command's arguments."""
    submit: Text
    """The label of the button that sends it."""
    check: str = ""
    """A verb that takes the checked blanks and only says what would happen: `plan`; empty: there is none."""


def filled_line(line: str, required: Collection[str], values: Mapping[str, str]) -> str:
    """The line with the values of the blanks: the required ones by position, the others as `name="value"`.

    Double quotes inside of a value are left out, because they would end it early."""
    words = [line, *(values[name].strip() for name in required if values.get(name))]
    for name, value in values.items():
        if value.strip() and name not in required:
            words.append('{}="{}"'.format(name, value.strip().replace('"', "")))
    return " ".join(words)
