"""Reply → Block Kit blocks, and a text for notifications (limits: Slack's block reference)."""

from collections.abc import Iterable
from typing import Any

from bot.core.chat.characters import visible
from bot.core.chat.reply import Button, Reply, Table
from bot.core.chat.text import Say, t
from bot.platforms.shared.sanitize import as_code, harmless, inside_code

Block = dict[str, Any]

SECTION, FIELDS, BUTTONS, LABEL, VALUE, CONFIRM = 3000, 10, 25, 75, 2000, 300
CHOICES, DETAIL = 8, 300
ROWS, TABLE, CELL = 99, 8500, 400
"""Rows under a header, characters of a table and of a cell."""
ANSWER, WHOLE = 11_000, 11_800
"""Of an answer, and of everything but buttons: Slack takes about 13,000 characters in a message."""
LOG = 2800
TEXT = 3900


def escape(text: str) -> str:
    """Words as mrkdwn without mentions and links, if nothing in it is looked for (`mrkdwn`)."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mrkdwn(text: str) -> Block:
    """An object of mrkdwn. Slack looks for no addresses, names and channels in it (`verbatim`)."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def payload(reply: Reply, say: Say) -> Block:
    """A message's arguments; one without anything would be refused."""
    return {"text": text(reply, say), "blocks": blocks(reply, say) or [_section("…")]}


def blocks(reply: Reply, say: Say) -> list[Block]:
    """The reply as blocks; whatever is too long for one message is cut, and says so."""
    found: list[Block] = []
    found += _sections(_opening(reply, say))
    named = [f"*{escape(say(name))}*\n{escape(say(value))}"[:VALUE] for name, value in reply.fields]
    for start in range(0, len(named), FIELDS):
        fields = [mrkdwn(text) for text in named[start : start + FIELDS]]
        found.append({"type": "section", "fields": fields})
    if reply.table is not None:
        found += _table(reply.table, say)
    if reply.answer:
        found.append({"type": "markdown", "text": harmless(reply.answer)[:ANSWER]})
    if reply.log:
        found.append(_section(f"```{escape(inside_code(reply.log))[-LOG:]}```"))
    if reply.footnote is not None:
        found.append(context(escape(say(reply.footnote))))
    form = (Button(t("button.form"), reply.form.line),) if reply.form else ()
    elements = _buttons((*reply.buttons, *form), say)
    return [*_fitting(found, WHOLE - _size(elements)), *elements]


def _fitting(found: list[Block], left: int) -> list[Block]:
    """As many blocks as there is room for."""
    for number, block in enumerate(found):
        left -= _size(block)
        if left < 0:
            return [*found[:number], context("…")]
    return found


def _size(thing: object) -> int:
    """Characters of all texts in it."""
    if isinstance(thing, dict):
        return sum(len(v) if k == "text" and isinstance(v, str) else _size(v) for k, v in thing.items())
    return sum(map(_size, thing)) if isinstance(thing, list) else 0


def text(reply: Reply, say: Say) -> str:
    """The same in plain words, for notifications and screen readers."""
    lines = _opening(reply, say)
    lines += [f"{escape(say(name))}: {escape(say(value))}" for name, value in reply.fields]
    if reply.table is not None:
        lines += [escape(" · ".join(map(say, row))) for row in reply.table.rows]
    if reply.answer:
        lines.append(escape(reply.answer))
    if reply.log:
        lines.append(escape(reply.log))
    return "\n".join(lines)[:TEXT] or "…"


def _opening(reply: Reply, say: Say) -> list[str]:
    first = [f"{reply.tone} {escape(say(reply.text))}".lstrip()] if reply.text is not None else []
    return [*first, *(escape(say(line)) for line in reply.lines)]


def _section(text: str) -> Block:
    return {"type": "section", "text": mrkdwn(text[:SECTION])}


def _sections(lines: list[str]) -> list[Block]:
    """As few sections as hold the lines."""
    held: list[str] = []
    for line in lines:
        if held and len(held[-1]) + len(line) < SECTION:
            held[-1] += f"\n{line}"
        else:
            held.append(line)
    return [_section(part) for part in held if part.strip()]


def context(text: str) -> Block:
    """A context block: small print."""
    return {"type": "context", "elements": [mrkdwn(text[:SECTION])]}


def _table(table: Table, say: Say) -> list[Block]:
    rows: list[list[Block]] = []
    size = 0
    for row in (table.header, *table.rows):
        cells = [visible(say(cell))[:CELL] or " " for cell in row]
        size += sum(map(len, cells))
        if len(rows) > ROWS or size > TABLE:
            break
        rows.append([{"type": "raw_text", "text": cell} for cell in cells])
    left = len(table.rows) + 1 - len(rows)
    return [{"type": "table", "rows": rows}, *([context(f"+ {left} …")] if left else [])]


def _buttons(buttons: Iterable[Button], say: Say) -> list[Block]:
    """A row; or, where each choice is explained, one under the other."""
    usable = [button for button in buttons if len(value(button)) <= VALUE][:BUTTONS]
    elements = [_button(number, button, say) for number, button in enumerate(usable)]
    if not any(button.detail for button in usable):
        return [{"type": "actions", "elements": elements}] if elements else []
    explained = []
    for button, element in list(zip(usable, elements, strict=True))[:CHOICES]:
        detail = escape(say(button.detail))[:DETAIL] if button.detail else ""
        line = f"{detail}\n{as_code(f'/llm {escape(button.command)[:DETAIL]}')}".lstrip()
        explained.append({**_section(line), "accessory": element})
    return explained


def value(button: Button) -> str:
    """What a click sends back: the deployment that the button is about, and the line."""
    return f"{button.about}\n{button.command}"


def _button(number: int, button: Button, say: Say) -> Block:
    element: Block = {
        "type": "button",
        "action_id": f"line{number}",
        "text": plain(say(button.label), LABEL),
        "value": value(button),
    }
    if button.confirm is not None:
        element["style"] = "danger"
        element["confirm"] = {
            "title": plain(say(button.label), 100),
            "text": plain(say(button.confirm), CONFIRM),
            "confirm": plain(say(button.label), 30),
            "deny": plain("✕", 30),
        }
    return element


def plain(words: str, limit: int) -> Block:
    """A plain_text object, cut where Slack would refuse it."""
    words = visible(words)
    return {"type": "plain_text", "text": words if len(words) <= limit else f"{words[: limit - 1]}…"}
