"""What a command answers: the same shape for every platform."""

from dataclasses import dataclass
from enum import StrEnum

from bot.core.chat.form import Form
from bot.core.chat.text import Text


class Tone(StrEnum):
    """How a reply looks: its value is the mark at the start of the first line."""

    PLAIN = ""
    READY = "●"
    LOADING = "◐"
    ASLEEP = "○"
    FAILED = "✕"
    QUEUED = "…"


@dataclass(frozen=True, slots=True)
class Button:
    """A click is a typed command: it takes the same road, with the same checks.

    With a `detail` the buttons are a list of choices, one a line. `confirm` is asked before, where
    that can be. `about` names the deployment that the button was shown for (`Workload.identity`)."""

    label: Text
    command: str
    detail: Text | None = None
    confirm: Text | None = None
    about: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header; as many cells in each."""

    header: tuple[Text, ...]
    rows: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with its file's name, and what it shows in words."""

    name: str
    png: bytes
    alt: Text


@dataclass(frozen=True, slots=True)
class Reply:
    """A message. `answer` (a model's Markdown) and `log` (monospaced) are foreign text: renderers
    make them harmless. `question` is what `answer` answers, or will, and `workload` who answers.
    `live` means that news will follow by itself in the same message. `form` is a way to say what was
    left out, where forms can be shown. For the time after a restart of the bot a message remembers its
    `key`, by which it is found, and `again`, the line to run anew if it waited."""

    text: Text | None = None
    tone: Tone = Tone.PLAIN
    lines: tuple[Text, ...] = ()
    fields: tuple[tuple[Text, Text], ...] = ()
    table: Table | None = None
    answer: str = ""
    question: str = ""
    workload: str = ""
    log: str = ""
    picture: Picture | None = None
    footnote: Text | None = None
    buttons: tuple[Button, ...] = ()
    form: Form | None = None
    private: bool = False
    live: bool = False
    again: str = ""
    key: str = ""
