"""Reply → plain lines; buttons are numbered choices."""

import io
import re
from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text as RichText

from bot.core.reply import Button, Reply, Table
from bot.core.text import Text

Say = Callable[[Text], str]
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What could move the cursor, colour the screen or turn text around; foreign text may hold it."""


def render(reply: Reply, say: Say, width: int = 100) -> str:
    """The reply as lines without an end of line."""
    parts = []
    if reply.text is not None:
        parts.append(f"{reply.tone} {say(reply.text)}".lstrip())
    parts += [f"  {say(line)}" for line in reply.lines]
    parts += _fields(reply, say)
    if reply.table is not None:
        parts += _table(reply.table, say, width)
    if reply.answer:
        parts.append(reply.answer)
    if reply.log:
        parts += [f"  {line}" for line in reply.log.splitlines()]
    if reply.footnote is not None:
        parts.append(f"  {say(reply.footnote)}")
    parts += _buttons(reply.buttons, say)
    return clean("\n".join(parts))


def clean(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return _CONTROL.sub("", text)


def _fields(reply: Reply, say: Say) -> list[str]:
    told = [(say(name), say(value)) for name, value in reply.fields]
    wide = max((len(name) for name, _ in told), default=0)
    return [f"  {name:<{wide}}  {value}" for name, value in told]


def _table(table: Table, say: Say, width: int) -> list[str]:
    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in table.header:
        drawn.add_column(RichText(say(name)))
    for row in table.rows:
        drawn.add_row(*(RichText(say(cell)) for cell in row))
    screen = Console(file=io.StringIO(), width=width - 2, color_system=None, legacy_windows=False)
    with screen.capture() as captured:
        screen.print(drawn)
    return [f"  {line}".rstrip() for line in captured.get().splitlines()]


def _buttons(buttons: tuple[Button, ...], say: Say) -> list[str]:
    """A list when the choices are explained, else one line."""
    if not buttons:
        return []
    labels = [say(button.label) for button in buttons]
    numbered = list(enumerate(zip(buttons, labels, strict=True), start=1))
    if all(button.detail is None for button in buttons):
        return ["  " + "   ".join(f"[{number} {label}]" for number, (_, label) in numbered)]
    wide = max(map(len, labels))
    details = [say(button.detail) if button.detail else "" for button in buttons]
    wider = max(map(len, details))
    return [
        f"  {number}  {label:<{wide}}   {detail:<{wider}}   /llm {button.command}"
        for (number, (button, label)), detail in zip(numbered, details, strict=True)
    ]
