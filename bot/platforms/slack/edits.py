"""Changes of messages: one in three seconds for each while news flow, the last one always."""

import asyncio
from typing import Any
from weakref import WeakValueDictionary

import structlog

from bot.platforms.slack.web import SlackRefused, Web

EVERY = 3.0
GONE = ("message_not_found", "channel_not_found", "is_inactive", "cant_update_message", "edit_window_closed")

log = structlog.get_logger()
Payload = dict[str, Any]


class Edits:
    """Of a message that changes faster only the latest state is sent."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._latest: dict[str, tuple[str, Payload]] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

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
        await self._web.rates.channel(channel).take()
        await self._web.rates.updates.take()
        return await self.send(channel, message, payload)

    def close(self) -> None:
        """Send no more."""
        for sending in self._sending.values():
            sending.cancel()

    async def _flow(self, message: str) -> None:
        rates = self._web.rates
        try:
            while message in self._latest:
                channel, payload = self._latest[message]
                if rates.updates.spare() and rates.channel(channel).spare():
                    self._latest.pop(message)
                    try:
                        await self.send(channel, message, payload)
                    except SlackRefused as error:
                        log.warning("not edited", why=error.code)
                await asyncio.sleep(EVERY)
        finally:
            self._sending.pop(message, None)

    async def send(self, channel: str, message: str, payload: Payload) -> bool:
        """Change it, after what is on its way to it; False when the message is gone."""
        turn = self._turns.get(message) or asyncio.Lock()
        self._turns[message] = turn
        async with turn:
            try:
                await self._web.call("chat.update", channel=channel, ts=message, **payload)
            except SlackRefused as error:
                if error.code in GONE:
                    return False
                raise
        return True
