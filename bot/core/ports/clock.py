"""The time, as an argument: tests and the demo have their own."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting; in the demo it runs faster."""

    def now(self) -> datetime:
        """The time, with its zone."""

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds of this clock."""
