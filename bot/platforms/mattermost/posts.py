"""Posts of Mattermost: edits, and the conversation that a thread holds in the props of its posts."""

import re
from collections.abc import Sequence
from typing import Any

from bot.platforms.mattermost.rest import MattermostRefused, RestClient
from bot.platforms.shared.edits import Edits, Payload
from bot.platforms.shared.threads import ThreadMessage, Threads

MEMORY = "llm_bot"
"""The name in a post's props under which an answer remembers its question and its model."""


class MattermostEdits(Edits):
    """Edits by `PATCH`, which leaves alone what it does not name."""

    def __init__(self, rest: RestClient) -> None:
        super().__init__()
        self._rest = rest

    async def apply(self, channel: str, message: str, payload: Payload) -> bool:
        """Change the post; False when it is gone, or older than the server's PostEditTimeLimit."""
        try:
            await self._rest.api.posts.patch_post(message, payload)
        except MattermostRefused as error:
            if error.gone or "time_limit" in error.code:
                return False
            raise
        return True

    def try_acquire(self, channel: str) -> bool:
        """Always: the server has no budget for edits, and 429 is waited out."""
        return True

    async def acquire(self, channel: str) -> None:
        """At once: there is no budget."""


class MattermostThreads(Threads):
    """Reads the posts of a thread."""

    def __init__(self, rest: RestClient, token: str) -> None:
        super().__init__(token)
        self._rest = rest
        self.name = ""

    @property
    def me(self) -> re.Pattern[str]:
        """A mention of the bot."""
        return re.compile(rf"(?<![\w.@-])@{re.escape(self.name)}(?![\w-])", re.IGNORECASE)

    async def fetch(self, channel: str, thread: str) -> Sequence[ThreadMessage]:
        """All posts of the thread."""
        found = await self._rest.api.posts.get_thread(thread)
        posts = sorted(found["posts"].values(), key=lambda post: int(post["create_at"]))
        return [self._thread_message(post) for post in posts]

    def _thread_message(self, post: dict[str, Any]) -> ThreadMessage:
        ours = post["user_id"] == self.bot or bool(self.me.search(post["message"]))
        event = post.get("props", {}).get(MEMORY, {}) if post["user_id"] == self.bot else {}
        return ThreadMessage(str(post["id"]), ours, event.get("markdown") or post["message"], event)
