"""Messages of Slack: edits within its rates, and the conversation that a thread holds in their metadata."""

from collections.abc import Sequence
from typing import Any

from bot.platforms.shared.edits import Edits, Payload
from bot.platforms.shared.threads import ThreadMessage, Threads
from bot.platforms.slack.web import SlackRefused, SlackWeb

PAGE, PAGES = 200, 5
"""Messages of one request, and requests for a thread."""


class SlackEdits(Edits):
    """Edits by `chat.update`."""

    def __init__(self, web: SlackWeb) -> None:
        super().__init__()
        self._web = web

    async def apply(self, channel: str, message: str, payload: Payload) -> bool:
        """Change the message; False when it is gone."""
        try:
            await self._web.call("chat.update", channel=channel, ts=message, **payload)
        except SlackRefused as error:
            if error.gone:
                return False
            raise
        return True

    def try_acquire(self, channel: str) -> bool:
        """Take one edit from the budgets of the channel and the workspace, if both have one to spare."""
        return self._web.rates.updates.try_acquire() and self._web.rates.channel(channel).try_acquire()

    async def acquire(self, channel: str) -> None:
        """Take one edit from both budgets, waiting if need be."""
        await self._web.rates.channel(channel).acquire()
        await self._web.rates.updates.acquire()


class SlackThreads(Threads):
    """Reads threads by `conversations.replies`."""

    def __init__(self, web: SlackWeb, token: str) -> None:
        super().__init__(token)
        self._web = web

    async def fetch(self, channel: str, thread: str) -> Sequence[ThreadMessage]:
        """The first thousand messages."""
        found: list[ThreadMessage] = []
        cursor = None
        for _ in range(PAGES):
            page = await self._web.read(
                "conversations.replies",
                channel=channel,
                ts=thread,
                limit=PAGE,
                cursor=cursor,
                include_all_metadata=True,
            )
            found += map(self._thread_message, page.get("messages", []))
            cursor = page.get("response_metadata", {}).get("next_cursor")
            if not cursor:
                break
        return found

    def _thread_message(self, message: dict[str, Any]) -> ThreadMessage:
        ours = message.get("user") == self.bot or f"<@{self.bot}" in message.get("text", "")
        event = message.get("metadata", {}).get("event_payload", {})
        own = event if message.get("user") == self.bot else {}
        return ThreadMessage(str(message["ts"]), ours, _markdown(message), own)


def _markdown(message: dict[str, Any]) -> str:
    parts = [block["text"] for block in message.get("blocks", []) if block.get("type") == "markdown"]
    return "".join(parts) or str(message.get("text", ""))
