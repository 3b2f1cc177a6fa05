"""Edits of messages: at most one in three seconds for each while its state changes, and always the last."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any
from weakref import WeakValueDictionary

import structlog

from bot.platforms.shared.platform import Refused

EDIT_SECONDS = 3.0

log = structlog.get_logger()
Payload = dict[str, Any]


class Edits(ABC):
    """A message that changes faster skips states: only the latest one is sent."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[str, Payload]] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @abstractmethod
    async def apply(self, channel: str, message: str, payload: Payload) -> bool:
        """Change the message; False when it is gone or can no longer be changed."""

    @abstractmethod
    def try_acquire(self, channel: str) -> bool:
        """Take one edit from the channel's budget if there is one to spare."""

    @abstractmethod
    async def acquire(self, channel: str) -> None:
        """Take one edit from the channel's budget, waiting for it if need be."""

    async def change(self, channel: str, message: str, payload: Payload, *, live: bool) -> bool:
        """Edit it: soon if it is `live` (more will follow), else at once; False when the message is gone."""
        if not live:
            return await self.edit_now(channel, message, payload)
        self.schedule(channel, message, payload)
        return True

    def schedule(self, channel: str, message: str, payload: Payload) -> None:
        """Edit it when the budget allows; a later state takes the place of this one."""
        self._latest[message] = (channel, payload)
        if message not in self._sending:
            self._sending[message] = asyncio.create_task(self._send_while_it_changes(message))

    def cancel(self, message: str) -> None:
        """Drop the edit that is scheduled: something else is shown there from now on."""
        self._latest.pop(message, None)

    async def edit_now(self, channel: str, message: str, payload: Payload) -> bool:
        """Edit it at once; False when the message is gone."""
        self.cancel(message)
        await self.acquire(channel)
        return await self.send(channel, message, payload)

    def close(self) -> None:
        """Send no more."""
        for sending in self._sending.values():
            sending.cancel()

    async def _send_while_it_changes(self, message: str) -> None:
        try:
            while message in self._latest:
                channel, payload = self._latest[message]
                if self.try_acquire(channel):
                    self._latest.pop(message)
                    try:
                        await self.send(channel, message, payload)
                    except Refused as error:
                        log.warning("edit.refused", why=error.code)
                await asyncio.sleep(EDIT_SECONDS)
        finally:
            self._sending.pop(message, None)

    async def send(self, channel: str, message: str, payload: Payload) -> bool:
        """Edit it, after an edit of it that is under way; False when the message is gone."""
        lock = self._locks.get(message) or asyncio.Lock()
        self._locks[message] = lock
        async with lock:
            return await self.apply(channel, message, payload)
