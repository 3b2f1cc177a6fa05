"""Mattermost as a platform: events come over its websocket, replies go through its REST API."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import structlog
from aiohttp import web

from bot.core.chat.errors import UserError
from bot.core.chat.message import Place, Turn
from bot.core.chat.reply import Reply
from bot.core.chat.text import Phrasebook, Say, t
from bot.core.finding import Finding
from bot.platforms.mattermost.buttons import Buttons
from bot.platforms.mattermost.callbacks import Callbacks
from bot.platforms.mattermost.context import MattermostContext, send
from bot.platforms.mattermost.inbound import MattermostInbound
from bot.platforms.mattermost.people import SYSTEM_ADMIN, MattermostPeople
from bot.platforms.mattermost.posts import MEMORY, MattermostEdits, MattermostThreads
from bot.platforms.mattermost.rest import MattermostRefused, RestClient
from bot.platforms.mattermost.setup import Registered, register
from bot.platforms.mattermost.socket import EventSocket
from bot.platforms.shared.platform import Endpoint, Handle, Platform

HEARTBEAT_SECONDS = 30.0
TRY_AGAIN_SECONDS = 5.0

log = structlog.get_logger()


class Mattermost(Platform):
    """Mattermost calls the `endpoints` under `callback_url`; without that address there are no buttons and
    dialogs. `command_tokens` are those of the slash command by team, `ca_file` has certificates of a private
    authority."""

    name = "mattermost"
    admin_groups = frozenset({SYSTEM_ADMIN})

    def __init__(
        self,
        phrases: Phrasebook,
        language: str,
        url: str,
        token: str,
        *,
        callback_url: str = "",
        command_tokens: Mapping[str, str] = {},
        ca_file: str = "",
        role_members: Iterable[str] = (),
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        super().__init__(phrases, language)
        tls = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self._rest = RestClient(url, token, tls)
        self._threads = MattermostThreads(self._rest, token)
        self._people = MattermostPeople(self._rest, role_members)
        self._context = MattermostContext(
            self._rest, self._threads, MattermostEdits(self._rest), Buttons(token, callback_url)
        )
        self._command_tokens = command_tokens
        self._callbacks: Callbacks | None = None
        self._heartbeat = heartbeat
        self._socket: EventSocket | None = None
        self._inbound: MattermostInbound | None = None

    @property
    def ready(self) -> bool:
        """The websocket is connected."""
        return self._socket is not None and self._socket.ready

    async def listen(self, handle: Handle) -> None:
        """Until it is cancelled; UserError when the server does not accept the token."""
        inbound = MattermostInbound(self._context, self._people, handle, self._say_in)
        try:
            await self._introduce()
            self._inbound = inbound
            self._callbacks = Callbacks(inbound, self._command_tokens, self._say_in)
            self._socket = EventSocket(
                self._rest.client, self._heartbeat, inbound.handle_event, inbound.catch_up
            )
            await self._socket.run()
        finally:
            self._callbacks = self._inbound = None
            await inbound.close()
            self._context.edits.close()
            await self._rest.close()

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Slash commands, clicks on buttons, and submitted dialogs."""
        return {f"/mattermost/{call}": self.endpoint for call in ("command", "action", "dialog")}

    async def endpoint(self, request: web.Request) -> web.StreamResponse:
        """One call of those in `endpoints`; 503 while the bot does not listen."""
        if self._callbacks is None:
            return web.Response(status=503)
        called = {"command": self._callbacks.command, "action": self._callbacks.action}
        return await called.get(request.path.rpartition("/")[2], self._callbacks.dialog)(request)

    async def check(self) -> AsyncIterator[Finding]:
        """Whether the server accepts the token."""
        try:
            me = await self._rest.api.users.get_user("me")
            yield "ok", t("doctor.mattermost", name=me["username"]), None
            for channel in await self._people.channels_without_role():
                yield "warn", t("doctor.no_role", channel=channel), t("doctor.no_role_todo")
        except MattermostRefused as error:
            yield "fail", t("mattermost.wrong_token", why=error.code), t("doctor.mattermost_todo")
        finally:
            await self._rest.close()

    async def register(self, url: str, hint: str) -> AsyncIterator[Registered]:
        """Make the slash command in every team; UserError when the token is wrong."""
        try:
            async for team in register(self._rest, url, hint):
                yield team
        finally:
            await self._rest.close()

    async def send(self, place: Place, reply: Reply, say: Say) -> str:
        """A new post."""
        return await send(self._context, place, reply, say)

    async def update(self, place: Place, message: str, reply: Reply, say: Say) -> None:
        """Change a message; post a new one if it was deleted."""
        shown = self._context.buttons.payload(reply, say, place)
        if not await self._context.edits.change(place.channel, message, shown, live=reply.live):
            await self.send(place, reply, say)

    async def history(self, place: Place) -> Sequence[Turn]:
        """The thread's questions and answers."""
        return await self._threads.turns(place)

    async def find(self, place: Place, key: str) -> str:
        """Look for the key in the props of the channel's last posts."""
        found = await self._rest.api.posts.get_posts_for_channel(place.channel, {"per_page": "100"})
        posts = (post for post in found["posts"].values() if post["user_id"] == self._rest.me)
        marked = [p["id"] for p in posts if ((p.get("props") or {}).get(MEMORY) or {}).get("key") == key]
        return str(marked[0]) if marked else ""

    async def resume(self, place: Place, message: str) -> bool:
        """With what the post's props say of the question that waits."""
        if self._inbound is None:
            raise MattermostRefused(0, "unreachable")
        return await self._inbound.resume(place, message)

    async def _introduce(self) -> None:
        """Learn the bot's own id and name; while the server is away, try again."""
        while True:
            try:
                me = await self._rest.api.users.get_user("me")
                break
            except MattermostRefused as error:
                if error.status in (401, 403):
                    raise UserError(t("mattermost.wrong_token", why=error.code)) from None
                log.warning("mattermost.away", why=error.code)
                await asyncio.sleep(TRY_AGAIN_SECONDS)
        self._threads.bot = self._rest.me = str(me["id"])
        self._threads.name = str(me["username"])
        for channel in await self._people.channels_without_role():
            log.warning("roles.channel_not_private", channel=channel)
