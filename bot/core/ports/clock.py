"""The time as a port: tests and the demo have clocks of their own."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time, and waits."""

    def now(self) -> datetime:
        """The time, with a time zone."""

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
