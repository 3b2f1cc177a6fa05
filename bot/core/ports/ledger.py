"""Who used how many GPUs, day by day."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Protocol

from bot.core.chat.text import Text
from bot.core.usage.records import GpuUse, UsageEvent


class Ledger(Protocol):
    """Who used how much. Never needed to be right: without it, what is held now decides."""

    @property
    def problem(self) -> Text | None:
        """What people should know of why it is neither written nor read, as of the last call."""

    async def add(self, day: date, uses: Sequence[GpuUse], events: Sequence[UsageEvent] = ()) -> None:
        """Write down more of it."""

    async def used(self, since: date) -> Mapping[str, float]:
        """GPU-seconds of each owner from that day on; nothing if it cannot be read."""

    async def uses(self, since: date) -> Sequence[tuple[date, GpuUse]]:
        """All of it from that day on, by day; nothing if it cannot be read."""

    async def events(self, since: date) -> Sequence[tuple[date, UsageEvent]]:
        """The same of what else happened."""
