"""Posts in Mattermost: which of them are for the bot, and which were missed while the connection was gone."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply
from bot.core.chat.text import Say, t
from bot.platforms.mattermost.context import MattermostContext
from bot.platforms.mattermost.people import MattermostPeople
from bot.platforms.mattermost.presenter import MattermostPresenter
from bot.platforms.mattermost.rest import MattermostRefused
from bot.platforms.mattermost.socket import SocketEvent
from bot.platforms.shared.dedup import Dedup
from bot.platforms.shared.inbound import Inbound
from bot.platforms.shared.platform import Handle
from bot.platforms.shared.presenter import Origin

NOT_PEOPLE = ("from_bot", "from_webhook", "from_plugin", "from_oauth_app")
PREFIX = re.compile(r"^!llm(?=\s|$)", re.IGNORECASE)
LATE_MILLISECONDS, TRY_AGAIN_SECONDS = 10_000, 2.0
"""Events of several servers behind one address come a little out of order."""
Post = dict[str, Any]

log = structlog.get_logger()


class MattermostInbound(Inbound):
    """Takes the events of the websocket."""

    def __init__(
        self,
        context: MattermostContext,
        people: MattermostPeople,
        handle: Handle,
        say_in: Callable[[str], Say],
    ) -> None:
        super().__init__(handle, say_in, context.threads)
        self.context, self._people = context, people
        self._dedup = Dedup(seconds=float("inf"))  # a gap may be long
        self._begun, self._latest = int(time.time() * 1000), 0
        self._unread: int | None = None
        self._reading: asyncio.Task[None] | None = None

    def presenter(self, message: Message, origin: Origin, say: Say) -> MattermostPresenter:
        """A presenter of the replies to one message."""
        return MattermostPresenter(self.context, message, origin, say)

    async def person(self, user: str, team: str) -> User:
        """The person with this id."""
        return await self._people.user(user)

    async def resolve_place(self, place: Place, user: User, origin: Origin) -> tuple[Place, Origin]:
        """Where replies go: where the request came from if the bot is a member there, else to the person
        alone."""
        if not origin.trigger:
            return place, origin
        if kind := await self._people.conversation(place.channel):
            return place, replace(origin, direct=kind == "D")
        here = self.presenter(Message("", user, place), origin, self.say_in(user.locale))
        await here.reply_privately(Reply(t("chat.not_here")))
        direct = Place("mattermost", await self.context.rest.open_direct_channel(user.id))
        return direct, replace(origin, direct=True, card="", sent="")

    def handle_event(self, event: SocketEvent) -> None:
        """Handle one event of the websocket."""
        data = event["data"]
        if event["event"] == "posted":
            post = json.loads(data["post"])
            self._latest = max(self._latest, int(post["create_at"]))
            self._posted(post, data.get("channel_type", ""))
        elif event["event"] in ("user_updated", "user_role_updated"):
            self._people.forget(str(data.get("user_id") or data.get("user", {}).get("id", "")))

    def catch_up(self) -> None:
        """Events were missed: read the posts since the last event, or since an earlier gap that is still
        open."""
        if self._unread is None:
            self._unread = max(self._begun, self._latest - LATE_MILLISECONDS)
        if self._reading is not None:
            self._reading.cancel()
        self._reading = self.start(self._catch_up(self._unread))

    async def _catch_up(self, since: int) -> None:
        while True:
            try:
                await self._read_back(since)
                break
            except MattermostRefused as error:
                log.warning("gap.not_read", why=error.code)
                await asyncio.sleep(TRY_AGAIN_SECONDS)
        self._unread = None

    async def _read_back(self, since: int) -> None:
        api, me = self.context.rest.api, self.context.threads.bot
        for team in await api.teams.get_user_teams(me):
            for channel in await api.channels.get_channels_for_user(me, team["id"]):
                if channel.get("last_post_at", 0) < since:
                    continue
                found = await api.posts.get_posts_for_channel(channel["id"], {"since": str(since)})
                for post in sorted(found["posts"].values(), key=lambda post: int(post["create_at"])):
                    if post["create_at"] >= since and not post.get("delete_at"):
                        self._posted(post, channel["type"])

    def _posted(self, post: Post, kind: str) -> None:
        props = post.get("props") or {}
        if post["user_id"] == self.context.threads.bot or post.get("type"):
            return
        if any(props.get(mark) == "true" for mark in NOT_PEOPLE) or not self.is_new(post["id"]):
            return
        self.start(self._handle_post(post, kind), post["user_id"])

    async def _handle_post(self, post: Post, kind: str) -> None:
        """Answer a post if it is for the bot."""
        text, channel, root = post["message"], post["channel_id"], post.get("root_id", "")
        threads = self.context.threads
        me = threads.me
        called = me.search(text) or PREFIX.match(text)
        if kind != "D" and not called:
            to_somebody_else = text.startswith("@")
            if not root or to_somebody_else or not await threads.takes_part(channel, root):
                return
        place = Place("mattermost", channel, root or post["id"])
        threads.join(channel, place.thread, new=not root)
        line = me.sub("", PREFIX.sub("", text)).strip() or "help"
        origin = Origin(post["id"], direct=kind == "D")
        await self.handle_message(line, post["user_id"], place, origin, free=not PREFIX.match(text))
