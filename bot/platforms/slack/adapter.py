"""Slack as a platform: requests come through Bolt, by Socket Mode or HTTP, replies go through the Web API."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import structlog
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.signature import SignatureVerifier

from bot.core.changes import Listening
from bot.core.chat.errors import UserError
from bot.core.chat.message import Place, Turn
from bot.core.chat.reply import Reply
from bot.core.chat.text import Phrasebook, Say, t
from bot.core.finding import Finding
from bot.platforms.shared.platform import Endpoint, Handle, Platform
from bot.platforms.slack.calls import understood
from bot.platforms.slack.forms import Forms
from bot.platforms.slack.home import HomeTab
from bot.platforms.slack.inbound import SlackInbound
from bot.platforms.slack.listeners import listen
from bot.platforms.slack.messages import SlackEdits, SlackThreads
from bot.platforms.slack.people import SlackPeople
from bot.platforms.slack.presenter import SlackContext, show
from bot.platforms.slack.rates import AnswerPace
from bot.platforms.slack.render import payload
from bot.platforms.slack.sockets import PING_SECONDS, SocketPool
from bot.platforms.slack.web import SlackRefused, SlackWeb

TRY_AGAIN_SECONDS = 5.0
SIGNED_BY = ("Request-Timestamp", "Signature")
STAMP = re.compile(r"[0-9]{1,12}")
"""Seconds since 1970."""
WRONG_TOKEN = ("invalid_auth", "not_authed", "account_inactive", "token_revoked", "not_allowed_token_type")

log = structlog.get_logger()


class Slack(Platform):
    """With an `app_token` the bot connects to Slack (Socket Mode); without, Slack calls `endpoint` and signs
    its calls."""

    name = "slack"

    def __init__(
        self,
        phrases: Phrasebook,
        language: str,
        token: str,
        *,
        app_token: str = "",
        signing_secret: str = "",
        url: str = "https://slack.com/api/",
        role_members: Iterable[str] = (),
        changes: Callable[[], Listening],
        ping: float = PING_SECONDS,
    ) -> None:
        super().__init__(phrases, language)
        self._web = SlackWeb(token, url)
        self._threads = SlackThreads(self._web, token)
        self._people = SlackPeople(self._web, role_members)
        self._context = SlackContext(self._web, self._threads, SlackEdits(self._web), AnswerPace())
        self._app_token, self._changes = app_token, changes
        self._bolt = AsyncApp(
            client=self._web.client,
            signing_secret=signing_secret or None,
            request_verification_enabled=False,  # `endpoint` does it; connections of ours need it not
        )
        self._verifier = SignatureVerifier(signing_secret) if signing_secret else None
        self._sockets = SocketPool(self._bolt, app_token, ping)
        self._inbound: SlackInbound | None = None

    @property
    def ready(self) -> bool:
        """Slack can reach the bot."""
        return self._sockets.ready if self._app_token else self._inbound is not None

    async def listen(self, handle: Handle) -> None:
        """Until it is cancelled; UserError when Slack does not accept the tokens."""
        await self._introduce()
        self._inbound = inbound = SlackInbound(self._context, self._people, handle, self._say_in)
        home = HomeTab(self._web, self._people, handle, self._say_in)
        forms = Forms(self._web, self._people, inbound, handle, self._say_in)
        listen(self._bolt, inbound, forms, home)
        following = asyncio.create_task(
            self.supervisor.keep("slack.home", lambda: home.follow(self._changes()))
        )
        try:
            await (self._sockets.run() if self._app_token else asyncio.Event().wait())
        finally:
            self._inbound = None
            following.cancel()
            await self._sockets.close()
            await inbound.close()
            await self.close()

    async def check(self) -> AsyncIterator[Finding]:
        """Whether Slack accepts the tokens."""
        try:
            me = await self._web.call("auth.test")
            yield "ok", t("doctor.slack", name=me["user"], team=me.get("team", me["team_id"])), None
            if self._app_token:
                await self._web.check_app_token(self._app_token)
                yield "ok", t("doctor.slack_socket"), None
            for channel in await self._people.channels_without_role():
                yield "warn", t("doctor.no_role", channel=channel), t("doctor.no_role_todo")
        except SlackRefused as error:
            yield "fail", t("slack.wrong_token", why=error.code), t("doctor.slack_todo")
        finally:
            await self.close()

    async def close(self) -> None:
        """Send nothing more."""
        self._context.edits.close()
        await self._web.close()

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """In HTTP mode, all that Slack sends."""
        return {} if self._app_token else {"/slack/events": self.endpoint}

    async def endpoint(self, request: web.Request) -> web.StreamResponse:
        """A call of Slack's in HTTP mode; 401 for a wrong or old signature, 400 for what Slack would not
        send, 503 while the bot does not listen."""
        if self._inbound is None:
            return web.Response(status=503)
        if not await self._is_signed(request):
            return web.Response(status=401)  # nothing of it is even parsed
        call = await understood(to_bolt_request(request))
        if call is None:
            return web.Response(status=400)
        return await to_aiohttp_response(await self._bolt.async_dispatch(call))

    async def _is_signed(self, request: web.Request) -> bool:
        stamp, signature = (request.headers.get(f"X-Slack-{name}", "") for name in SIGNED_BY)
        if self._verifier is None or not STAMP.fullmatch(stamp) or not signature.isascii():
            return False
        try:
            return self._verifier.is_valid(await request.read(), stamp, signature)
        except UnicodeDecodeError:  # what Slack signs is text
            return False

    async def send(self, place: Place, reply: Reply, say: Say) -> str:
        """Post a message."""
        event = {"key": reply.key} if reply.key else {}
        sent = await self._web.post(place.channel, place.thread, payload(reply, say), event)
        await show(self._web, place, reply.picture, say)
        return sent

    async def update(self, place: Place, message: str, reply: Reply, say: Say) -> None:
        """Edit a message; post a new one if it was deleted."""
        shown = payload(reply, say)
        if not await self._context.edits.change(place.channel, message, shown, live=reply.live):
            await self.send(place, reply, say)

    async def history(self, place: Place) -> Sequence[Turn]:
        """The thread's questions and answers."""
        return await self._threads.turns(place)

    async def find(self, place: Place, key: str) -> str:
        """Look for the key in the metadata of the channel's last messages."""
        return await self._web.find(place.channel, place.thread, key=key)

    async def resume(self, place: Place, message: str) -> bool:
        """With what the message's metadata says of the question that waits."""
        if self._inbound is None:
            raise SlackRefused("unreachable")
        return await self._inbound.resume(place, message)

    async def _introduce(self) -> None:
        """Learn the bot's own id and workspace; while Slack is away, try again."""
        while True:
            try:
                me = await self._web.call("auth.test")
                if self._app_token:
                    await self._web.check_app_token(self._app_token)
                break
            except SlackRefused as error:
                if error.code in WRONG_TOKEN:
                    raise UserError(t("slack.wrong_token", why=error.code)) from None
                log.warning("slack.away", why=error.code)
                await asyncio.sleep(TRY_AGAIN_SECONDS)
        self._threads.bot, self._people.team = str(me["user_id"]), str(me["team_id"])
        for channel in await self._people.channels_without_role():
            log.warning("roles.channel_not_private", channel=channel)
