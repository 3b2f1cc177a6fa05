"""Reports from the ledger: on demand, and to admins every morning."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import structlog

from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.reply import Picture, Reply
from bot.core.chat.text import t
from bot.core.ports import Clock, Ledger, Messenger
from bot.core.usage.reports import Day, UsageReport, report, summary, usage
from bot.services.operations.alerts import AlertService

Draw = Callable[[Sequence[Day]], bytes]
"""Draws the chart of some days, as PNG."""
MONDAY, WEEK = 0, 7

log = structlog.get_logger()


class Reports:
    """Makes reports. `draw` may take a second: it is called in a thread. `admins` is where admins read; None:
    there is no morning report. `alerts` remember when the last one was posted."""

    def __init__(
        self,
        ledger: Ledger,
        messenger: Messenger,
        draw: Draw,
        clock: Clock,
        zone: ZoneInfo,
        admins: Place | None,
        alerts: AlertService,
    ) -> None:
        self._ledger, self._messenger, self._draw = ledger, messenger, draw
        self._clock, self._zone, self._admins = clock, zone, admins
        self._alerts = alerts

    async def all(self, days: int) -> Reply:
        """The report about everybody for the last `days` days, with a chart."""
        content = await self._report(days)
        if problem := self._ledger.problem:
            return Reply(problem)
        if not any(day.busy or day.idle or day.free for day in content.days):
            return Reply(t("report.empty"))
        png = await asyncio.to_thread(self._draw, content.days)
        name = f"gpu-hours-{content.days[-1].day.isoformat()}.png"
        return summary(content, Picture(name, png, t("report.alt", count=days, days=days)))

    async def own(self, owner: str, days: int) -> Reply:
        """The report about the person with the user id `owner` for the last `days` days."""
        content = await self._report(days)
        problem = self._ledger.problem
        return Reply(problem, private=True) if problem else usage(content, owner)

    async def morning(self) -> None:
        """Post the morning report to admins, unless today's was posted already: yesterday and today so far;
        on Mondays the last seven days. Nothing is posted while the cluster or the chat cannot be reached."""
        if self._admins is None:
            return
        try:
            await self._post(self._admins, self._today())
        except UserError as error:
            log.warning("report.not_sent", why=error.text.key)

    async def _post(self, admins: Place, today: date) -> None:
        before = await self._alerts.last_report()
        if before == today:
            return
        reply = await self.all(WEEK if today.weekday() == MONDAY else 2)
        try:
            await self._alerts.note_report(today)  # first: if the bot ends in between, it is not posted twice
            await self._messenger.post(admins, reply)
        except UserError:
            await self._alerts.note_report(before)
            raise

    def _today(self) -> date:
        """The date in the zone of the settings."""
        return self._clock.now().astimezone(self._zone).date()

    async def _report(self, days: int) -> UsageReport:
        last = self._today()
        first = last - timedelta(days=days - 1)
        return report(await self._ledger.uses(first), await self._ledger.events(first), first, last)
