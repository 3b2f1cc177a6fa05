"""Reports from the ledger: by day for a chart, by person and model for a table."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from bot.core.chat.reply import Picture, Reply, Table
from bot.core.chat.text import Text, t, verbatim
from bot.core.usage.records import GpuUse, UsageEvent, UsageKind

HOUR = 3600.0
ROWS = 15
"""Rows of the table at most: those who used most."""


@dataclass(frozen=True, slots=True)
class Day:
    """The GPU-hours of a day."""

    day: date
    """Which day."""
    busy: float
    """GPU-hours of models that started or answered."""
    idle: float
    """GPU-hours of models that were ready and answered nothing."""
    free: float
    """GPU-hours that nobody held."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What the ledger has of some days."""

    days: Sequence[Day]
    """Every day, in order."""
    uses: Sequence[GpuUse]
    """The sum of all days for each person and model."""
    events: Sequence[UsageEvent]
    """What happened, in no particular order."""

    def total(self, kind: UsageKind) -> tuple[float, int]:
        """The sum of the amounts of a kind, in its unit, and how often it happened."""
        events = [event for event in self.events if event.kind is kind]
        return sum(event.amount for event in events), sum(event.times for event in events)


def report(
    uses: Iterable[tuple[date, GpuUse]], events: Iterable[tuple[date, UsageEvent]], first: date, last: date
) -> UsageReport:
    """The report of every day from `first` to `last`, both included, even if nothing happened on it."""
    uses, events = list(uses), list(events)
    held, idle, capacity = (defaultdict[date, float](float) for _ in range(3))
    people: defaultdict[tuple[str, str], list[GpuUse]] = defaultdict(list)
    for day, use in uses:
        held[day] += use.gpu_seconds
        idle[day] += use.idle_gpu_seconds
        people[use.owner, use.model].append(use)
    for day, event in events:
        if event.kind is UsageKind.CAPACITY:
            capacity[day] += event.amount
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    days = [
        Day(d, (held[d] - idle[d]) / HOUR, idle[d] / HOUR, max(0, capacity[d] - held[d]) / HOUR)
        for d in every
    ]
    return UsageReport(days, [_sum(own) for own in people.values()], [event for _, event in events])


def _sum(uses: Sequence[GpuUse]) -> GpuUse:
    last = uses[-1]
    seconds, idle = sum(use.gpu_seconds for use in uses), sum(use.idle_gpu_seconds for use in uses)
    return GpuUse(last.owner, last.model, seconds, idle, last.owner_name)


def summary(content: UsageReport, picture: Picture | None) -> Reply:
    """The report for admins: sums, then the GPU-hours of each person and model."""
    busy, idle = sum(day.busy for day in content.days), sum(day.idle for day in content.days)
    title = t("report.title", count=len(content.days), days=len(content.days), busy=busy, idle=idle)
    return Reply(title, lines=tuple(_lines(content)), table=_table(content.uses), picture=picture)


def _lines(content: UsageReport) -> Iterable[Text]:
    given_back, _ = content.total(UsageKind.GIVEN_BACK)
    waited, times = content.total(UsageKind.WAITED)
    if given_back:
        yield t("report.back", hours=given_back / HOUR)
    if times:
        yield t("report.waited", count=times, span=timedelta(seconds=waited / times))
    longest = max(content.uses, key=lambda use: use.idle_gpu_seconds, default=None)
    if longest and longest.idle_gpu_seconds:
        yield t(
            "report.longest",
            model=longest.model,
            who=longest.owner_name,
            hours=longest.idle_gpu_seconds / HOUR,
        )
    causes: Counter[str] = Counter()
    for event in content.events:
        if event.kind is UsageKind.FAILED:
            causes[event.about] += event.times
    if causes:
        named = ", ".join(f"{count} × {cause}" for cause, count in causes.most_common())
        yield t("report.failed", causes=named)


def _table(uses: Sequence[GpuUse]) -> Table | None:
    rows = sorted(uses, key=lambda use: -use.gpu_seconds)[:ROWS]
    header = tuple(t(f"report.{name}") for name in ("who", "model", "hours", "idle_hours"))
    return Table(header, tuple(_row(use) for use in rows)) if rows else None


def _row(use: GpuUse) -> tuple[Text, ...]:
    hours = (t("report.number", hours=figure / HOUR) for figure in (use.gpu_seconds, use.idle_gpu_seconds))
    return (verbatim(use.owner_name or use.owner), verbatim(use.model), *hours)


def usage(content: UsageReport, owner: str) -> Reply:
    """The report for one person: the GPU-hours of the user id `owner`, by model."""
    own = [use for use in content.uses if use.owner == owner]
    total = sum(use.gpu_seconds for use in own) / HOUR
    title = t("report.usage", count=len(content.days), days=len(content.days), hours=total)
    return Reply(title, table=_table(own), private=True)
