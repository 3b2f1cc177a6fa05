"""The HTTP port: alive, ready, and our own metrics."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bot.platforms.shared.platform import Endpoint

IDLE_SECONDS = 75.0
"""So long a connection may stay open without the whole head of a request: longer than the proxies before it
keep theirs (nginx 60 s)."""
REQUEST_SECONDS = 30.0
"""So long a request may take, its body included."""
LINGERING_SECONDS = 2.0
"""So long a body is read that nobody wants any more."""
BODY_BYTES = 2**20
"""The longest body; a click or a form in a chat has a few KiB."""
CONNECTIONS, CONNECTIONS_OF_AN_ADDRESS = 1000, 200
"""Open at the same time: in all, and from one address, so that nobody keeps the kubelet's probes out."""
PATIENCE = web.AppKey("patience", float)
"""REQUEST_SECONDS, or what a test takes for it."""


class _Door(asyncio.Protocol):
    """Lets a new connection in, unless there are too many."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand it to a handler of its own, or break it."""
        taken = cast(asyncio.Transport, transport)
        address = _address(taken.get_extra_info("peername"))
        addresses = [_address(handler.peername) for handler in self._server.connections]
        if len(addresses) >= CONNECTIONS or addresses.count(address) >= CONNECTIONS_OF_AN_ADDRESS:
            taken.abort()
            return
        handler = self._server()
        taken.set_protocol(handler)
        handler.connection_made(taken)


def _address(peer: object) -> str:
    """The address without the port."""
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""


@web.middleware
async def _in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """408 for a request that takes too long, because its body does not come or the answer does not."""
    try:
        async with asyncio.timeout(request.app[PATIENCE]):
            return await handler(request)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


class HttpServer:
    """`/livez` while the loop runs; `/healthz` while nothing is `down()`, else 503 with the names; `/readyz`
    once `ready()`; `/metrics` for Prometheus; and what chat servers call, by path. `idle` and `patience` are
    seconds: how long a connection waits for the head of a request, and a request for its end."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ready: Callable[[], bool],
        down: Callable[[], Sequence[str]],
        endpoints: Mapping[str, Endpoint],
        idle: float = IDLE_SECONDS,
        patience: float = REQUEST_SECONDS,
    ) -> None:
        self._host, self._port = host, port
        self._ready, self._down = ready, down
        app = web.Application(middlewares=[_in_time], client_max_size=BODY_BYTES)
        app[PATIENCE] = patience
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        for path, endpoint in endpoints.items():
            app.router.add_post(path, endpoint)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=idle,
            lingering_time=LINGERING_SECONDS,
        )
        self._listening: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; OSError when the port is taken."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: _Door(server), self._host, self._port)

    @property
    def port(self) -> int:
        """Where it listens; another than asked for where that was 0."""
        assert self._listening is not None
        return int(self._listening.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close all connections."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _healthz(self, request: web.Request) -> web.Response:
        down = self._down()
        return web.Response(text="".join(f"{name}\n" for name in down) or "ok", status=503 if down else 200)

    async def _readyz(self, request: web.Request) -> web.Response:
        return web.Response(text="ready") if self._ready() else web.Response(status=503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
