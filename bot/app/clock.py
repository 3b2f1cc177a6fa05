"""The real clock."""

import asyncio
from datetime import UTC, datetime


class SystemClock:
    """The machine's clock. If it is corrected, `now` is too."""

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds, whether or not the clock is corrected meanwhile."""
        await asyncio.sleep(seconds)
