"""Reply → plain lines; buttons are numbered choices."""

from prompt_toolkit.utils import get_cwidth

from bot.core.chat.characters import visible
from bot.core.chat.reply import Button, Reply, Table
from bot.core.chat.text import Say


def render(reply: Reply, say: Say) -> str:
    """The reply as lines without an end of line."""
    parts = []
    if reply.text is not None:
        parts.append(f"{reply.tone} {say(reply.text)}".lstrip())
    parts += [f"  {say(line)}" for line in reply.lines]
    parts += _fields(reply, say)
    if reply.table is not None:
        parts += _table(reply.table, say)
    if reply.answer:
        parts.append(reply.answer)
    if reply.log:
        parts += [f"  {line}" for line in reply.log.split("\n")]
    if reply.footnote is not None:
        parts.append(f"  {say(reply.footnote)}")
    parts += _buttons(reply.buttons, say)
    return visible("\n".join(parts))


def _fields(reply: Reply, say: Say) -> list[str]:
    pairs = [(say(name), say(value)) for name, value in reply.fields]
    wide = max((len(name) for name, _ in pairs), default=0)
    return [f"  {name:<{wide}}  {value}" for name, value in pairs]


def _table(table: Table, say: Say) -> list[str]:
    """Columns as wide as their widest cell; a terminal that is narrower wraps."""
    rows = [[say(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(map(get_cwidth, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  "
        + "   ".join(
            cell + " " * (wide - get_cwidth(cell)) for cell, wide in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    rule = "  " + "─" * (sum(widths) + 3 * (len(widths) - 1))
    return [lines[0], rule, *lines[1:]]


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
