"""Slack's Web API through the official client: one session, and retries that repeat no message."""

from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

import aiohttp
from slack_sdk.errors import SlackApiError, SlackRequestError
from slack_sdk.http_retry.async_handler import AsyncRetryHandler
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncRateLimitErrorRetryHandler,
    AsyncServerErrorRetryHandler,
)
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bot.core.chat.text import t
from bot.platforms.shared.platform import Refused
from bot.platforms.slack.rates import Rates

REQUEST_SECONDS = 30.0
CONNECTIONS = 100
ONCE = ("chat.postMessage", "chat.postEphemeral", "chat.startStream", "chat.appendStream")
"""Methods that must not be sent twice: a connection that broke may have delivered the first one."""
GONE = (
    "message_not_found",
    "thread_not_found",
    "channel_not_found",
    "is_inactive",
    "cant_update_message",
    "edit_window_closed",
)
NONCE_EVENT = "llm_bot"
LOOK_BACK = 30


class SlackRefused(Refused):
    """Slack's answer was not ok, or there was none."""

    def __init__(self, code: str) -> None:
        super().__init__(t("slack.refused", why=code), code, gone=code in GONE)


class _RetryConnection(AsyncConnectionErrorRetryHandler):
    """Retries only methods that may be called twice."""

    async def _can_retry_async(self, *, request: Any, **more: Any) -> bool:
        if request.url.rsplit("/", 1)[-1] in ONCE:
            return False
        return bool(await super()._can_retry_async(request=request, **more))


class SlackWeb:
    """`client` is for Bolt; the methods are what the bot itself calls."""

    def __init__(self, token: str, url: str) -> None:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=5)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        patient = [
            _RetryConnection(max_retry_count=2),
            AsyncRateLimitErrorRetryHandler(max_retry_count=3),
            AsyncServerErrorRetryHandler(max_retry_count=2),
        ]
        self.rates = Rates()
        self.client = self._client(token, url, patient)
        self._quick = self._client(token, url, [])

    def _client(self, token: str, url: str, handlers: list[AsyncRetryHandler]) -> AsyncWebClient:
        return AsyncWebClient(token=token, base_url=url, session=self._session, retry_handlers=handlers)

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def call(self, method: str, *, quick: bool = False, **arguments: Any) -> dict[str, Any]:
        """Call a method with JSON arguments; `quick` never retries, as a trigger lives for three seconds."""
        client = self._quick if quick else self.client
        return await _result(client.api_call(method, json=_without_none(arguments)))

    async def read(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method that reads; its arguments go into the query."""
        return await _result(self.client.api_call(method, http_verb="GET", params=_without_none(arguments)))

    async def check_app_token(self, token: str) -> None:
        """SlackRefused if the token opens no connection."""
        await _result(self.client.apps_connections_open(app_token=token))

    async def respond(self, url: str, text: str) -> None:
        """Reply privately through the address that came with a command (5 times in 30 minutes)."""
        try:
            async with self._session.post(url, json={"text": text, "response_type": "ephemeral"}) as answer:
                if answer.status != 200:
                    raise SlackRefused(str(answer.status))
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise SlackRefused("unreachable") from None

    async def open_direct_channel(self, user: str) -> str:
        """The id of the direct channel with a person."""
        return str((await self.call("conversations.open", users=user))["channel"]["id"])

    async def upload_file(
        self, channel: str, thread: str, name: str, content: bytes, title: str, alt: str = ""
    ) -> None:
        """Upload a file; of a picture `alt` says what it shows."""
        await _result(
            self.client.files_upload_v2(
                channel=channel,
                thread_ts=thread or None,
                filename=name,
                file=content,
                title=title,
                alt_txt=alt or None,
            )
        )

    async def post(
        self, channel: str, thread: str, payload: dict[str, Any], event: dict[str, Any], person: str = ""
    ) -> str:
        """Post exactly once: if the connection broke, look whether the message arrived before sending it
        again; its id. `person` is whose request it answers, if it answers one."""
        nonce = uuid4().hex
        metadata = {"event_type": NONCE_EVENT, "event_payload": {**event, "nonce": nonce}}
        quiet = {"unfurl_links": False, "unfurl_media": False}
        message = {"channel": channel, "thread_ts": thread or None, "metadata": metadata, **quiet, **payload}
        budget = self.rates.channel(channel)
        await (budget.acquire_for(person) if person else budget.acquire())
        try:
            return str((await self.call("chat.postMessage", **message))["ts"])
        except SlackRefused as error:
            if error.code != "unreachable":
                raise
        if arrived := await self.find(channel, thread, nonce=nonce):
            return arrived
        return str((await self.call("chat.postMessage", **message))["ts"])

    async def find(self, channel: str, thread: str, **marks: str) -> str:
        """The message with these marks in its metadata, among the last ones; empty if none."""
        method = "conversations.replies" if thread else "conversations.history"
        found = await self.read(
            method, channel=channel, ts=thread or None, limit=LOOK_BACK, include_all_metadata=True
        )
        for message in found.get("messages", []):
            if marks.items() <= message.get("metadata", {}).get("event_payload", {}).items():
                return str(message["ts"])
        return ""


def _without_none(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


async def _result(request: Awaitable[AsyncSlackResponse]) -> dict[str, Any]:
    """What Slack answers; SlackRefused with its error code."""
    try:
        answer = await request
    except SlackApiError as error:
        raise SlackRefused(_code(error.response)) from None
    except (aiohttp.ClientError, SlackRequestError, TimeoutError, OSError):
        raise SlackRefused("unreachable") from None
    return dict(answer.data) if isinstance(answer.data, dict) else {}


def _code(response: Any) -> str:
    """Slack's name of an error; where a proxy answers with a page instead, the HTTP status."""
    told = getattr(response, "data", None)
    code = told.get("error") if isinstance(told, dict) else None
    return str(code or getattr(response, "status_code", "unreachable"))
