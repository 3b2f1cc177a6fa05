"""Reply → Markdown of a Mattermost post; what is long is cut."""

import re
from collections.abc import Iterable

from bot.core.chat.reply import Button, Reply, Table
from bot.core.chat.text import Say
from bot.platforms.shared.sanitize import JOINER, harmless

LONGEST = 16_383
"""Characters of a post (Mattermost's MaxPostSize)."""
LOG = 4000
_CALLS = re.compile(r"@(?=\w)")


def escape(text: str) -> str:
    """Text of ours with names from people and clusters in it, as Markdown without marks, mentions or
    pictures."""
    return _CALLS.sub(f"@{JOINER}", re.sub(r"([\\`*_\[\]|<>~])", r"\\\1", text))


def render(reply: Reply, say: Say) -> str:
    """The reply as Markdown, without its buttons."""
    parts = []
    if reply.text is not None:
        parts.append(f"{reply.tone} {escape(say(reply.text))}".lstrip())
    parts += [escape(say(line)) for line in reply.lines]
    parts += [f"**{escape(say(name))}** {escape(say(value))}" for name, value in reply.fields]
    if reply.table is not None:
        parts.append(_table(reply.table, say))
    if reply.answer:
        parts.append(harmless(reply.answer))
    if reply.log:
        parts.append(f"```\n{_calm(reply.log)[-LOG:]}\n```")
    if reply.footnote is not None:
        parts.append(f"\n*{escape(say(reply.footnote))}*")
    return "\n".join(parts)


def cut(text: str) -> str:
    """The text as long as a post may be; never empty, which the server refuses."""
    text = text if text.strip() else "…"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def code(line: str) -> str:
    """A line as inline code, which it cannot end itself."""
    return "`{}`".format(line.replace("`", "'").replace("\n", " "))


def _calm(log: str) -> str:
    """A log that cannot end its own code block."""
    return log.replace("```", f"`{JOINER}``")


def _table(table: Table, say: Say) -> str:
    rows = [[escape(say(cell)).replace("\n", " ") for cell in row] for row in (table.header, *table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|---" * len(table.header) + "|"
    return "\n".join(["", lines[0], rule, *lines[1:], ""])


def commands_to_type(buttons: Iterable[Button], say: Say) -> list[str]:
    """The commands behind buttons, a line each, where there are no buttons."""
    lines = []
    for button in buttons:
        detail = f" {escape(say(button.detail))}" if button.detail else ""
        lines.append(f"- {escape(say(button.label))}:{detail} {code('!llm ' + button.command)}")
    return ["", *lines] if lines else []
