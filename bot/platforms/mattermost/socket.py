"""Mattermost's websocket: events in order, each once; a gap is reported."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import structlog

from bot.platforms.mattermost.rest import AsyncClient

HELLO_SECONDS = 10.0
SHORTEST, LONGEST = 0.2, 30.0
LARGEST_EVENT = 16 * 2**20
NONSENSE = (TypeError, ValueError, KeyError, AttributeError)
"""What a frame that is no event of Mattermost's raises, and a connection that closes before it greets."""

log = structlog.get_logger()
SocketEvent = dict[str, Any]


class EventSocket:
    """Connects, again and again. The server keeps events for five minutes, so a lost connection is resumed
    where it was (`connection_id`, `sequence_number`), unless the server was restarted."""

    def __init__(
        self,
        client: AsyncClient,
        heartbeat: float,
        handle_event: Callable[[SocketEvent], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._client, self._heartbeat = client, heartbeat
        self._handle_event, self._on_gap = handle_event, on_gap
        self._connection, self._next = "", 0
        self._greeted = False
        self.ready = False

    async def run(self) -> None:
        """Until it is cancelled."""
        pause = SHORTEST
        try:
            while True:
                try:
                    if await self._connect():
                        pause = SHORTEST
                except (aiohttp.ClientError, TimeoutError, OSError, *NONSENSE) as error:
                    log.warning("mattermost.away", why=type(error).__name__)
                self.ready = False
                await asyncio.sleep(pause)
                pause = min(LONGEST, 2 * pause)
        finally:
            self.ready = False

    async def _connect(self) -> bool:
        """One connection until it ends; whether any event came."""
        url = self._client.url.replace("http", "ws", 1) + "/websocket"
        resuming = {"connection_id": self._connection, "sequence_number": str(self._next)}
        async with self._client.session.ws_connect(
            url,
            params=resuming if self._connection else {},
            heartbeat=self._heartbeat,
            max_msg_size=LARGEST_EVENT,
        ) as socket:
            begun = self._next
            if not self._connection:
                self._take(await socket.receive_json(timeout=HELLO_SECONDS))
            self.ready = bool(self._connection)
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    self._take(json.loads(frame.data))
            log.info("mattermost.disconnected", code=socket.close_code)
            return self._next > begun

    def _take(self, event: SocketEvent) -> None:
        """Handle an event unless it was seen before; report a gap before it."""
        number = event.get("seq")
        if number is None or "event" not in event:  # the answer to something we said
            return
        if event["event"] == "hello":
            connection = event["data"]["connection_id"]
            if connection != self._connection:
                if self._greeted:
                    self._on_gap()
                self._connection, self._next = connection, 0
            self._greeted = True
        if number < self._next:
            return
        if number > self._next:
            self._on_gap()
        self._next = number + 1
        self._handle_event(event)
