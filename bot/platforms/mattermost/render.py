"""Reply → Markdown of a Mattermost post; what is long is cut."""

from collections.abc import Iterable

from bot.core.chat.reply import Button, Reply, Table
from bot.core.chat.text import Say
from bot.platforms.shared.pagination import Pages
from bot.platforms.shared.sanitize import as_code, harmless, inside_code, plain

LONGEST = 16_383
"""Characters of a post (Mattermost's MaxPostSize)."""
LOG = 4000


def render(reply: Reply, say: Say) -> str:
    """The reply as Markdown, without its buttons."""
    parts = []
    if reply.text is not None:
        parts.append(f"{reply.tone} {plain(say(reply.text))}".lstrip())
    parts += [plain(say(line)) for line in reply.lines]
    parts += [f"**{plain(say(name))}** {plain(say(value))}" for name, value in reply.fields]
    if reply.table is not None:
        parts.append(_table(reply.table, say))
    if reply.answer:
        parts.append(harmless(reply.answer))
    if reply.log:
        parts.append(f"```\n{inside_code(reply.log)[-LOG:]}\n```")
    if reply.footnote is not None:
        parts.append(f"\n*{plain(say(reply.footnote))}*")
    return "\n".join(parts)


def cut(text: str) -> str:
    """The text as long as a post may be, with no code left open; never empty, which the server refuses."""
    if len(text) > LONGEST:
        pages = Pages(LONGEST - 1)
        pages.add(text)
        text = f"{pages.pages[0]}…"
    return text if text.strip() else "…"


def _table(table: Table, say: Say) -> str:
    rows = [[plain(say(cell)).replace("\n", " ") for cell in row] for row in (table.header, *table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|---" * len(table.header) + "|"
    return "\n".join(["", lines[0], rule, *lines[1:], ""])


def commands_to_type(buttons: Iterable[Button], say: Say) -> list[str]:
    """The commands behind buttons, a line each, where there are no buttons."""
    lines = []
    for button in buttons:
        detail = f" {plain(say(button.detail))}" if button.detail else ""
        lines.append(f"- {plain(say(button.label))}:{detail} {as_code('!llm ' + button.command)}")
    return ["", *lines] if lines else []
