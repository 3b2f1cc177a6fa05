"""Threads of Slack: an answer's memory is its message's metadata."""

from collections.abc import Sequence
from typing import Any

from bot.platforms.shared.threads import Said, Threads
from bot.platforms.slack.web import Web

PAGE, PAGES = 200, 5


class SlackThreads(Threads):
    """By `conversations.replies`."""

    def __init__(self, web: Web) -> None:
        super().__init__()
        self._web = web

    async def fetch(self, channel: str, thread: str) -> Sequence[Said]:
        """The first thousand messages."""
        found: list[Said] = []
        cursor = None
        for _ in range(PAGES):
            page = await self._web.ask(
                "conversations.replies",
                channel=channel,
                ts=thread,
                limit=PAGE,
                cursor=cursor,
                include_all_metadata=True,
            )
            found += map(self._said, page.get("messages", []))
            cursor = page.get("response_metadata", {}).get("next_cursor")
            if not cursor:
                break
        return found

    def _said(self, message: dict[str, Any]) -> Said:
        ours = message.get("user") == self.bot or f"<@{self.bot}" in message.get("text", "")
        event = message.get("metadata", {}).get("event_payload", {})
        own = event if message.get("user") == self.bot else {}
        return Said(str(message["ts"]), ours, _markdown(message), own)


def _markdown(message: dict[str, Any]) -> str:
    parts = [block["text"] for block in message.get("blocks", []) if block.get("type") == "markdown"]
    return "".join(parts) or str(message.get("text", ""))
