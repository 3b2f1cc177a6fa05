"""Socket Mode: two connections, each replaced when it is lost."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import time
from typing import Any

import structlog
from slack_bolt.adapter.socket_mode.async_internals import send_async_response
from slack_bolt.adapter.socket_mode.internals import build_headers
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from bot.platforms.slack.calls import is_envelope, understood

SOCKETS = 2
PING_SECONDS = 5.0
CHANCES = 4
DRAIN_SECONDS = 3.0
"""Slack waits for an acknowledgement no longer."""

log = structlog.get_logger()


class DrainingClient(SocketModeClient):
    """The SDK's client, which leaves a connection only when all that came over it is acknowledged."""

    def __init__(self, app_token: str, app: AsyncApp, ping: float) -> None:
        super().__init__(app_token, app.logger, app.client, ping_interval=ping)
        self._unanswered = 0
        self._all_answered = asyncio.Event()
        self._all_answered.set()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A request came, and is acknowledged when this block ends."""
        self._unanswered += 1
        self._all_answered.clear()
        try:
            yield
        finally:
            self._unanswered -= 1
            if not self._unanswered:
                self._all_answered.set()

    async def enqueue_message(self, message: str) -> None:
        """Take a message that came, if it is one of Slack's."""
        if is_envelope(message):
            await super().enqueue_message(message)

    async def connect_to_new_endpoint(self, force: bool = False) -> None:
        """Slack asks for a new connection; the old one still takes acknowledgements, so wait for them."""
        if await self.is_connected():
            await self.drained()
        await super().connect_to_new_endpoint(force)

    async def drained(self) -> None:
        """Wait until all requests are acknowledged, or it is too late for that."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_answered.wait(), DRAIN_SECONDS)

    @property
    def alive(self) -> bool:
        """Connected, as far as we know."""
        return self.current_session is not None and not self.current_session.closed and not self.stale


class SocketConnection:
    """One connection; what comes over it goes to Bolt."""

    def __init__(self, app: AsyncApp, token: str, ping: float) -> None:
        self._bolt = app
        self.client = DrainingClient(token, app, ping)
        self.client.socket_mode_request_listeners.append(self.handle)
        self.connecting = asyncio.create_task(self.client.connect())

    async def handle(self, client: Any, request: SocketModeRequest) -> None:
        """Acknowledge a request that is understood; the work goes on in the background."""
        begun = time()
        with self.client.answering():
            call = await understood(_to_bolt_request(request))
            if call is not None:
                answer = await self._bolt.async_dispatch(call)
                await send_async_response(client, request, answer, begun)

    async def end(self) -> None:
        """Close the connection, whatever state it is in."""
        self.connecting.cancel()
        await asyncio.gather(self.connecting, return_exceptions=True)
        await asyncio.gather(self.client.close(), return_exceptions=True)


async def _to_bolt_request(request: SocketModeRequest) -> AsyncBoltRequest:
    return AsyncBoltRequest(mode="socket_mode", body=request.payload, headers=build_headers(request))


class SocketPool:
    """Two connections; `ready` while at least one of them works."""

    def __init__(self, app: AsyncApp, token: str, ping: float = PING_SECONDS) -> None:
        self._app, self._token, self._ping = app, token, ping
        self._sockets: list[SocketConnection] = []

    @property
    def ready(self) -> bool:
        """One socket is enough to be reached."""
        return any(socket.client.alive for socket in self._sockets)

    async def run(self) -> None:
        """Connect, and replace connections that the SDK could not mend, until cancelled."""
        self._sockets = [self._new() for _ in range(SOCKETS)]
        failing = [0] * SOCKETS
        while True:
            await asyncio.sleep(self._ping)
            for number, socket in enumerate(self._sockets):
                well = not socket.connecting.done() or await socket.client.is_connected()
                failing[number] = 0 if well else failing[number] + 1
                if failing[number] > CHANCES:
                    log.warning("slack.socket_replaced", number=number)
                    await socket.end()
                    self._sockets[number], failing[number] = self._new(), 0

    async def close(self) -> None:
        """Acknowledge what came, then close the connections."""
        await asyncio.gather(*(socket.client.drained() for socket in self._sockets))
        for socket in self._sockets:
            await socket.end()
        self._sockets = []

    def _new(self) -> SocketConnection:
        return SocketConnection(self._app, self._token, self._ping)
