"""A clock that runs N times as fast as the real one."""

import asyncio
from datetime import UTC, datetime, timedelta
from time import monotonic


class SpeedClock:
    """Starts at the real time and runs `speed` times as fast."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._start_time = datetime.now(UTC)
        self._started = monotonic()

    def now(self) -> datetime:
        """The time on this clock, in UTC."""
        return self._start_time + timedelta(seconds=(monotonic() - self._started) * self._speed)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        await asyncio.sleep(seconds / self._speed)
