"""A clock that runs N times as fast as the real one."""

import asyncio
from datetime import UTC, datetime, timedelta
from time import monotonic


class SpeedClock:
    """Begins at the real time, and from then on runs `speed` times as fast."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._begun = datetime.now(UTC)
        self._started = monotonic()

    def now(self) -> datetime:
        """The time on this clock."""
        return self._begun + timedelta(seconds=(monotonic() - self._started) * self._speed)

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds of this clock."""
        await asyncio.sleep(seconds / self._speed)
