"""Rate limits of Slack: what may be sent now, and what waits."""

import asyncio
from time import monotonic

from cachetools import LRUCache

CHANNELS_KEPT = 1000


class TokenBucket:
    """`room` calls at once, then `per_minute`; the last `reserve` are for calls that must not be lost."""

    def __init__(self, per_minute: float, room: float, reserve: float = 0.0) -> None:
        self._rate = per_minute / 60
        self._room, self._reserve = room, reserve
        self._left, self._at = room, monotonic()

    def try_acquire(self) -> bool:
        """Take one if there is one to spare."""
        self._refill()
        if self._left < self._reserve + 1:
            return False
        self._left -= 1
        return True

    async def acquire(self) -> None:
        """Take one, as soon as there is one; whoever comes later waits longer."""
        self._refill()
        self._left -= 1
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)

    def _refill(self) -> None:
        now = monotonic()
        self._left = min(self._room, self._left + (now - self._at) * self._rate)
        self._at = now


class Rates:
    """The rates that Slack guarantees (tiers 2, 3 and 4 are 20, 50 and 100 a minute for each method and
    workspace; a channel takes about one message a second), with a reserve for final messages."""

    def __init__(self) -> None:
        self.starts = TokenBucket(20, room=10)
        self.appends = TokenBucket(100, room=20, reserve=5)
        self.updates = TokenBucket(50, room=20, reserve=8)
        self._channels: LRUCache[str, TokenBucket] = LRUCache(CHANNELS_KEPT)

    def channel(self, channel: str) -> TokenBucket:
        """The budget of one channel."""
        if channel not in self._channels:
            self._channels[channel] = TokenBucket(60, room=6, reserve=2)
        return self._channels[channel]


class AnswerPace:
    """How fast answers are updated: the more of them flow at once, the slower each."""

    def __init__(self) -> None:
        self.active = 0

    def pause(self, per_minute: int) -> float:
        """Seconds between two steps of one answer."""
        return max(1.0, self.active * 60 / per_minute)
