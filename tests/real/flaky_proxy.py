"""A proxy before the API server that fails on purpose, as networks and servers under load do."""

import asyncio
import random
from collections import Counter
from contextlib import suppress

import aiohttp
from aiohttp import web

from tests.real.control_plane import ControlPlane

FAULTS = ("409", "429", "500", "timeout", "unheard", "unanswered")
"""Refused with such a status; answered too late; cut before it was passed on, or after it was done."""
LONGEST_WATCH = 20.0
"""Seconds after which a watch is cut at the latest."""
LATE = 16.0
"""Seconds that a late answer takes: longer than the bot waits."""
PASSED_BACK = ("Content-Type", "Retry-After")
"""Headers of an answer."""
REFUSALS = {
    "409": ("Conflict", "Operation cannot be fulfilled: the object has been modified"),
    "429": ("TooManyRequests", "the server has received too many requests"),
    "500": ("InternalError", "Internal error occurred: etcdserver: leader changed"),
}


class FlakyProxy:
    """`share` of all requests fail, in a way and in an order that `chance` chooses, and watches are cut."""

    def __init__(self, plane: ControlPlane, chance: random.Random, share: float) -> None:
        self.share = share
        self.url = ""
        self.failed: Counter[str] = Counter()
        """How many requests met which fault."""
        self.passed = 0
        """How many requests were answered as the API server answered them."""
        self._plane, self._chance = plane, chance
        self._watches: set[asyncio.Transport] = set()

    async def start(self) -> None:
        """Listen on loopback, in clear: who has a token is let in."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False, limit=0), skip_auto_headers=("Accept-Encoding",)
        )
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close everything."""
        await self._runner.cleanup()
        await self._session.close()

    def cut_watches(self) -> None:
        """All of them, at once."""
        for transport in list(self._watches):
            self.failed["watch cut"] += 1
            transport.abort()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        fault = self._chance.choice(FAULTS) if self._chance.random() < self.share else ""
        if fault:
            self.failed[fault] += 1
        if fault in REFUSALS:
            return _refusal(int(fault))
        if fault == "unheard":
            return _cut(request)
        if "watch" in request.query:
            return await self._watch(request)
        body = await request.read()
        try:
            async with self._ask(request, body) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, OSError):
            return _cut(request)
        if fault == "timeout":
            await asyncio.sleep(LATE)
        if fault in ("timeout", "unanswered"):
            return _cut(request)
        self.passed += 1
        kept = {
            name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers
        }
        return web.Response(body=text, status=answer.status, headers=kept)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """As it comes, until it is cut."""
        assert isinstance(request.transport, asyncio.Transport)
        transport, lives = request.transport, self._chance.uniform(1, LONGEST_WATCH)
        cut = asyncio.get_running_loop().call_later(lives, transport.abort) if self.share else None
        self._watches.add(transport)
        try:
            async with self._ask(request, b"") as answer:
                stream = web.StreamResponse(
                    status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
                )
                await stream.prepare(request)
                with suppress(ConnectionError):
                    async for piece in answer.content.iter_any():
                        await stream.write(piece)
                return stream
        except (aiohttp.ClientError, OSError):
            return _cut(request)
        finally:
            self._watches.discard(transport)
            if cut:
                cut.cancel()

    def _ask(self, request: web.Request, body: bytes) -> "aiohttp.client._RequestContextManager":
        wanted = ("Authorization", "Content-Type", "Accept")
        headers = {name: request.headers[name] for name in wanted if name in request.headers}
        url, endless = f"{self._plane.url}{request.rel_url}", aiohttp.ClientTimeout(sock_connect=5)
        return self._session.request(request.method, url, data=body, headers=headers, timeout=endless)


def _refusal(status: int) -> web.Response:
    reason, message = REFUSALS[str(status)]
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}
    return web.json_response(body, status=status, headers={"Retry-After": "1"} if status == 429 else {})


def _cut(request: web.Request) -> web.Response:
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()
    return web.Response()
