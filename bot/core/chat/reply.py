"""What the bot answers: the same for every platform, which renders it in its own way."""

from dataclasses import dataclass
from enum import StrEnum

from bot.core.chat.form import Form
from bot.core.chat.text import Text


class Tone(StrEnum):
    """What a reply is about at a glance: the value is the mark at the start of its first line."""

    PLAIN = ""
    """An answer without a mark."""
    READY = "●"
    """A model answers, or something has gone well."""
    LOADING = "◐"
    """Something is under way."""
    ASLEEP = "○"
    """A model sleeps or is gone."""
    FAILED = "✕"
    """Something has failed or is refused."""
    QUEUED = "…"
    """Something waits."""


@dataclass(frozen=True, slots=True)
class Button:
    """A click is a typed command: it takes the same road, with the same checks."""

    label: Text
    """What stands on it."""
    command: str
    """The line that a click runs, without `/llm`: `stop llama-3-8b`."""
    detail: Text | None = None
    """More about this choice. Buttons with a detail are shown as a list, one a line; None: side by side."""
    confirm: Text | None = None
    """The question before it runs, on platforms that can ask one; None: it runs at once."""
    about: str = ""
    """The `Workload.identity` of the deployment that it was shown for; empty: it is about none."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; each row has as many cells as the header."""

    header: tuple[Text, ...]
    """The titles of its columns."""
    rows: tuple[tuple[Text, ...], ...]
    """Its rows, from top to bottom."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that a reply shows."""

    name: str
    """The name of its file: `gpu-hours-2026-11-07.png`."""
    png: bytes
    """The image as PNG."""
    alt: Text
    """What it shows, in words."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A message of the bot. `answer` and `log` are text of others: renderers make it harmless."""

    text: Text | None = None
    """The first line; None: there is none, as in a model's answer."""
    tone: Tone = Tone.PLAIN
    """The mark before the first line."""
    lines: tuple[Text, ...] = ()
    """The lines below it."""
    fields: tuple[tuple[Text, Text], ...] = ()
    """Pairs of a label and a value."""
    table: Table | None = None
    """A table; None: there is none."""
    answer: str = ""
    """A model's answer so far, as Markdown; empty: it is not an answer, or nothing has come yet."""
    question: str = ""
    """The question that `answer` answers, or will answer; empty: there is none."""
    workload: str = ""
    """The name of the deployment that answers the question; empty: there is no question."""
    log: str = ""
    """Text to be shown as it is, monospaced: a log, an address, examples; empty: there is none."""
    picture: Picture | None = None
    """An image; None: there is none."""
    footnote: Text | None = None
    """A small line at the end; None: there is none."""
    buttons: tuple[Button, ...] = ()
    """What a person can do next."""
    form: Form | None = None
    """A form for the arguments that were left out, on platforms that have forms; None: there is none."""
    private: bool = False
    """Only the person who asked sees it."""
    live: bool = False
    """The same message will change by itself as things go on."""
    again: str = ""
    """The line to run again after a restart of the bot, if the message waits for something; else empty."""
    key: str = ""
    """What the message can be found by after a restart of the bot; empty: nobody will look for it."""
