"""Changes of messages: one in three seconds for each while news flow, the last one always."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any
from weakref import WeakValueDictionary

import structlog

from bot.platforms.shared.platform import Refused

EVERY = 3.0

log = structlog.get_logger()
Payload = dict[str, Any]


class Edits(ABC):
    """Of a message that changes faster only the latest state is sent."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[str, Payload]] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @abstractmethod
    async def put(self, channel: str, message: str, payload: Payload) -> bool:
        """Change the message; False when it is gone or can no longer be changed."""

    @abstractmethod
    def spare(self, channel: str) -> bool:
        """There is room for a change that could as well wait."""

    @abstractmethod
    async def take(self, channel: str) -> None:
        """Wait for room."""

    async def change(self, channel: str, message: str, payload: Payload, *, live: bool) -> bool:
        """News that go on soon, the last of them at once; False when the message is gone."""
        if not live:
            return await self.now(channel, message, payload)
        self.soon(channel, message, payload)
        return True

    def soon(self, channel: str, message: str, payload: Payload) -> None:
        """Show it when there is room; whatever comes later takes its place."""
        self._latest[message] = (channel, payload)
        if message not in self._sending:
            self._sending[message] = asyncio.create_task(self._flow(message))

    def forget(self, message: str) -> None:
        """Something else is shown there from now on."""
        self._latest.pop(message, None)

    async def now(self, channel: str, message: str, payload: Payload) -> bool:
        """Show it for certain; False when the message is gone."""
        self.forget(message)
        await self.take(channel)
        return await self.send(channel, message, payload)

    def close(self) -> None:
        """Send no more."""
        for sending in self._sending.values():
            sending.cancel()

    async def _flow(self, message: str) -> None:
        try:
            while message in self._latest:
                channel, payload = self._latest[message]
                if self.spare(channel):
                    self._latest.pop(message)
                    try:
                        await self.send(channel, message, payload)
                    except Refused as error:
                        log.warning("not edited", why=error.code)
                await asyncio.sleep(EVERY)
        finally:
            self._sending.pop(message, None)

    async def send(self, channel: str, message: str, payload: Payload) -> bool:
        """Change it, after what is on its way to it; False when the message is gone."""
        turn = self._turns.get(message) or asyncio.Lock()
        self._turns[message] = turn
        async with turn:
            return await self.put(channel, message, payload)
