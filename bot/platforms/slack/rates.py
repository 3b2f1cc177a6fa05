"""Rate limits of Slack: what may be sent now, and what waits."""

import asyncio
from time import monotonic
from weakref import WeakValueDictionary

from cachetools import LRUCache, TTLCache

CHANNELS_KEPT = 1000
PEOPLE_KEPT, RECENT_SECONDS = 1000, 10.0
"""Who had messages in a channel is remembered for a moment."""
LOOK_AGAIN_SECONDS = 0.1


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


class ChannelBucket(TokenBucket):
    """The budget of a channel, which one person cannot use up: whoever had a message there a moment ago
    leaves the reserve to others, and those who wait take turns."""

    def __init__(self, per_minute: float, room: float, reserve: float) -> None:
        super().__init__(per_minute, room, reserve)
        self._recent: TTLCache[str, float] = TTLCache(PEOPLE_KEPT, RECENT_SECONDS)
        """When each person had the last one."""
        self._waiting: set[str] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def acquire_for(self, person: str) -> None:
        """Take one for a message to a person, when it is their turn."""
        async with self._turns.setdefault(person, asyncio.Lock()):
            self._waiting.add(person)
            try:
                for wait in iter(lambda: self._wait(person), 0.0):
                    await asyncio.sleep(wait)
            finally:
                self._waiting.discard(person)
            self._left -= 1
            self._recent[person] = monotonic()

    def _wait(self, person: str) -> float:
        """Seconds until this person may take one, or may look again; 0: now."""
        self._refill()
        kept = self._reserve if person in self._recent else 0.0
        missing = kept + 1 - self._left
        next_one = min(self._waiting, key=lambda waiting: self._recent.get(waiting, 0.0))
        return max(missing / self._rate, 0.0 if next_one == person else LOOK_AGAIN_SECONDS)


class Rates:
    """The rates that Slack guarantees (tiers 2, 3 and 4 are 20, 50 and 100 a minute for each method and
    workspace; a channel takes about one message a second), with a reserve for final messages."""

    def __init__(self) -> None:
        self.starts = TokenBucket(20, room=10)
        self.appends = TokenBucket(100, room=20, reserve=5)
        self.updates = TokenBucket(50, room=20, reserve=8)
        self._channels: LRUCache[str, ChannelBucket] = LRUCache(CHANNELS_KEPT)

    def channel(self, channel: str) -> ChannelBucket:
        """The budget of one channel."""
        if channel not in self._channels:
            self._channels[channel] = ChannelBucket(60, room=6, reserve=2)
        return self._channels[channel]


class AnswerPace:
    """How fast answers are updated: the more of them flow at once, the slower each."""

    def __init__(self) -> None:
        self.active = 0

    def pause(self, per_minute: int) -> float:
        """Seconds between two steps of one answer."""
        return max(1.0, self.active * 60 / per_minute)
