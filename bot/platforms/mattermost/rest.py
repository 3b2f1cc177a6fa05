"""Mattermost's REST API: mattermostdriver's endpoints over one aiohttp session of ours."""

import asyncio
import json
import ssl
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from mattermostdriver import Driver
from mattermostdriver.client import Client

from bot.core.chat.text import t
from bot.platforms.shared.platform import Refused

CONNECTIONS, REQUEST_SECONDS, CONNECT_SECONDS = 100, 30.0, 5.0
TRIES, PAUSE, LONGEST_PAUSE = 6, 0.3, 30.0
BUSY = (502, 503, 504)
PENDING = "deduplicate_create_post.pending"
"""The server has our first attempt of the same post in work: later it answers with that one."""


class MattermostRefused(Refused):
    """An answer that is no success: `status` of HTTP, or 0 when the server cannot be reached."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(t("mattermost.refused", why=code), code, gone=status in (403, 404))
        self.status = status


class AsyncClient(Client):  # type: ignore[misc]
    """What the driver's endpoints call; here the calls return coroutines.

    Waits out 429. When a gateway or a connection fails it repeats all but POST; posts are repeated too, as
    the server knows them by their `pending_post_id`."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._tls: ssl.SSLContext | bool = options["tls"]
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=CONNECT_SECONDS),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),  # a session cookie would make the server want CSRF tokens
            headers={"Authorization": f"Bearer {options['token']}"},
        )

    async def get(self, endpoint: str, options: Any = None, params: Any = None) -> Any:
        """Read."""
        return await self._request("GET", endpoint, params=params)

    async def post(
        self, endpoint: str, options: Any = None, params: Any = None, data: Any = None, files: Any = None
    ) -> Any:
        """Create; `files` is a form."""
        once_only = not (isinstance(options, dict) and "pending_post_id" in options)
        return await self._request("POST", endpoint, options, params, files, once_only)

    async def put(self, endpoint: str, options: Any = None, params: Any = None, data: Any = None) -> Any:
        """Change."""
        return await self._request("PUT", endpoint, options, params)

    async def delete(self, endpoint: str, options: Any = None, params: Any = None, data: Any = None) -> Any:
        """Remove."""
        return await self._request("DELETE", endpoint, options, params)

    async def _request(
        self,
        method: str,
        endpoint: str,
        body: Any = None,
        params: Any = None,
        form: aiohttp.FormData | None = None,
        once_only: bool = False,
    ) -> Any:
        refused, pause = MattermostRefused(0, "unreachable"), 0.0
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, PAUSE * 2**attempt)
            try:
                async with self.session.request(
                    method, self.url + endpoint, json=body, params=params, data=form
                ) as answer:
                    text = await answer.text()
                    if answer.status < 400:
                        return json.loads(text) if text else {}
                    refused = _refusal(answer.status, text)
                    if answer.status == 429:
                        pause = min(LONGEST_PAUSE, _seconds(answer.headers.get("Retry-After")) or pause)
                    elif once_only or not (answer.status in BUSY or PENDING in refused.code):
                        raise refused
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                refused = MattermostRefused(0, "unreachable")
                if once_only:
                    break
        raise refused


class RestClient:
    """`api` is the driver (`await rest.api.posts.get_post(…)`); the methods are what it lacks."""

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | bool) -> None:
        address = urlsplit(url)
        secure = address.scheme == "https"
        options = {
            "scheme": address.scheme,
            "url": address.hostname,
            "port": address.port or (443 if secure else 80),
            "basepath": f"{address.path.rstrip('/')}/api/v4",
            "token": token,
            "tls": tls,
        }
        self.api = Driver(options, client_cls=AsyncClient)
        self.client: AsyncClient = self.api.client
        self.me = ""

    async def close(self) -> None:
        """End all connections."""
        await self.client.session.close()

    async def create_post(self, channel: str, thread: str, post: dict[str, Any]) -> str:
        """Make a post exactly once, whatever connection fails; its id."""
        pending = f"{self.me}:{uuid4().hex}"
        sent = {"channel_id": channel, "root_id": thread, "pending_post_id": pending, **post}
        return str((await self.api.posts.create_post(sent))["id"])

    async def open_direct_channel(self, user: str) -> str:
        """The id of the direct channel with a person."""
        members = [self.me, user]
        return str((await self.api.channels.create_direct_message_channel(members))["id"])

    async def show_typing(self, channel: str, thread: str) -> None:
        """Show for a few seconds that the bot is typing."""
        where = {"channel_id": channel, "parent_id": thread}
        await self.client.post(f"/users/{self.me}/typing", options=where)

    async def upload(self, channel: str, name: str, content: bytes) -> str:
        """Upload a file to a channel; its id."""
        form = aiohttp.FormData({"channel_id": channel})
        form.add_field("files", content, filename=name)
        return str((await self.client.post("/files", files=form))["file_infos"][0]["id"])

    async def respond(self, url: str, post: dict[str, Any]) -> None:
        """Reply privately through the address that came with a command (5 times in 30 minutes). Only the path
        of the address is used: the host is the server's own name for itself, which may not lead to it."""
        here = self.client.url.removesuffix("/api/v4")
        answer_body, hook = ephemeral(post), urlsplit(url).path.rpartition("/")[2]
        try:
            async with self.client.session.post(f"{here}/hooks/commands/{hook}", json=answer_body) as answer:
                if answer.status >= 400:
                    raise MattermostRefused(answer.status, str(answer.status))
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise MattermostRefused(0, "unreachable") from None

    async def open_dialog(self, trigger: str, dialog: dict[str, Any]) -> None:
        """Open a dialog for the person whose click or command the trigger came with (for 30 s)."""
        await self.client.post("/actions/dialogs/open", options={"trigger_id": trigger, **dialog})


def ephemeral(post: dict[str, Any]) -> dict[str, Any]:
    """A post as the answer to a command: seen by the person alone, its text left unchanged."""
    props = post.get("props", {})
    return {"response_type": "ephemeral", "text": post["message"], "skip_slack_parsing": True, **props}


def _refusal(status: int, text: str) -> MattermostRefused:
    try:
        error = json.loads(text)
        return MattermostRefused(status, str(error.get("id") or error.get("message") or status))
    except (ValueError, AttributeError):
        return MattermostRefused(status, f"HTTP {status}")


def _seconds(header: str | None) -> float:
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0
