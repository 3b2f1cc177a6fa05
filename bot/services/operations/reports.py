"""Reports from the ledger: on demand, and to admins every morning."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from bot.core.chat.message import Place
from bot.core.chat.reply import Picture, Reply
from bot.core.chat.text import t
from bot.core.ports import Clock, Ledger, Messenger
from bot.core.usage.reports import Day, UsageReport, report, summary, usage

Draw = Callable[[Sequence[Day]], bytes]
"""Draws the chart of some days, as PNG."""
MONDAY, WEEK = 0, 7


class Reports:
    """Makes reports. `draw` may take a second: it is called in a thread. `admins` is where admins read; None:
    there is no morning report."""

    def __init__(
        self,
        ledger: Ledger,
        messenger: Messenger,
        draw: Draw,
        clock: Clock,
        zone: ZoneInfo,
        admins: Place | None,
    ) -> None:
        self._ledger, self._messenger, self._draw = ledger, messenger, draw
        self._clock, self._zone, self._admins = clock, zone, admins

    async def all(self, days: int) -> Reply:
        """The report about everybody for the last `days` days, with a chart."""
        content = await self._report(days)
        if not any(day.busy or day.idle or day.free for day in content.days):
            return Reply(self._ledger.problem or t("report.empty"))
        png = await asyncio.to_thread(self._draw, content.days)
        name = f"gpu-hours-{content.days[-1].day.isoformat()}.png"
        return summary(content, Picture(name, png, t("report.alt", count=days, days=days)))

    async def own(self, owner: str, days: int) -> Reply:
        """The report about the person with the user id `owner` for the last `days` days."""
        content = await self._report(days)
        problem = self._ledger.problem
        return Reply(problem, private=True) if problem else usage(content, owner)

    async def morning(self) -> None:
        """Post the morning report to admins: yesterday and today so far; on Mondays the last seven days."""
        if self._admins is not None:
            monday = self._clock.now().astimezone(self._zone).weekday() == MONDAY
            await self._messenger.post(self._admins, await self.all(WEEK if monday else 2))

    async def _report(self, days: int) -> UsageReport:
        last = self._clock.now().date()
        first = last - timedelta(days=days - 1)
        return report(await self._ledger.uses(first), await self._ledger.events(first), first, last)
