"""The ledger: the GPU time that people used, day by day."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Protocol

from bot.core.chat.text import Text
from bot.core.usage.records import GpuUse, UsageEvent


class Ledger(Protocol):
    """Stores usage. No method fails: without a ledger the queue goes by the GPUs that people hold now."""

    @property
    def problem(self) -> Text | None:
        """Why the last call could neither write nor read; None if it could."""

    async def add(self, day: date, uses: Sequence[GpuUse], events: Sequence[UsageEvent] = ()) -> None:
        """Add to the records of a day."""

    async def used(self, since: date) -> Mapping[str, float]:
        """The GPU-seconds of each owner from that day on, by user id; empty if it cannot be read."""

    async def uses(self, since: date) -> Sequence[tuple[date, GpuUse]]:
        """All GPU time from that day on, with its day; empty if it cannot be read."""

    async def events(self, since: date) -> Sequence[tuple[date, UsageEvent]]:
        """All events from that day on, with their day; empty if it cannot be read."""
