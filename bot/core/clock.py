"""The real clock."""

import asyncio
from datetime import UTC, datetime


class SystemClock:
    """The machine's own time, as it is set: a correction of it is seen at once."""

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds, which no correction of the clock makes longer or shorter."""
        await asyncio.sleep(seconds)
