"""The websocket outlives a server that closes it before it greets, or says what is no event."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from bot.platforms.mattermost.rest import AsyncClient
from bot.platforms.mattermost.socket import EventSocket, SocketEvent
from tests.conftest import eventually

HELLO = '{"event": "hello", "seq": 0, "data": {"connection_id": "c1"}}'


class Server:
    """Each connection says the next of `scripts`, then closes; without one it says hello and stays open."""

    def __init__(self) -> None:
        self.scripts: list[list[str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if self.scripts:
            for frame in self.scripts.pop(0):
                await socket.send_str(frame)
            await socket.close()
            return socket
        await socket.send_str(HELLO)
        async for _ in socket:
            pass
        return socket


@pytest_asyncio.fixture
async def server() -> AsyncIterator[tuple[Server, dict[str, Any]]]:
    server, app = Server(), web.Application()
    app.router.add_get("/api/v4/websocket", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    options = {
        "scheme": "http",
        "url": "127.0.0.1",
        "port": runner.addresses[0][1],
        "basepath": "/api/v4",
        "token": "t",
        "tls": False,
        "verify": True,
        "timeout": 5,
        "request_timeout": 5,
        "auth": None,
        "debug": False,
    }
    yield server, options
    await runner.cleanup()


@pytest.mark.parametrize(
    "script",
    [[], ["not JSON"], ['{"event": "hello", "seq": 0}'], ["[1]"], [HELLO, "not JSON"]],
    ids=["closed before hello", "no JSON", "a hello without data", "no object", "nonsense after hello"],
)
async def test_whatever_it_says_the_next_connection_is_tried(
    server: tuple[Server, dict[str, Any]], script: list[str]
) -> None:
    fake, options = server
    fake.scripts = [script]
    client, events = AsyncClient(options), list[SocketEvent]()
    socket = EventSocket(client, 30.0, events.append, lambda: None)
    running = asyncio.create_task(socket.run())
    try:
        await eventually(lambda: running.done() or (not fake.scripts and socket.ready))
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.session.close()
