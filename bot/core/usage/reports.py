"""What the ledger says of some days: by day for a chart, by person and model for a table."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from bot.core.chat.reply import Picture, Reply, Table
from bot.core.chat.text import Text, t, verbatim
from bot.core.usage.records import UsageEvent, UsageKind, Use

HOUR = 3600.0
ROWS = 15
"""Of the table: those who used most."""


@dataclass(frozen=True, slots=True)
class Day:
    """GPU-hours of a day: something ran, it was held but nothing ran, and nobody had it."""

    day: date
    busy: float
    idle: float
    free: float


@dataclass(frozen=True, slots=True)
class UsageReport:
    """All of some days."""

    days: Sequence[Day]
    uses: Sequence[Use]
    events: Sequence[UsageEvent]

    def total(self, kind: UsageKind) -> tuple[float, int]:
        """Amount and times of all events of a kind."""
        found = [event for event in self.events if event.kind is kind]
        return sum(event.amount for event in found), sum(event.times for event in found)


def report(
    uses: Iterable[tuple[date, Use]], events: Iterable[tuple[date, UsageEvent]], first: date, last: date
) -> UsageReport:
    """Every day from the first to the last, be it that nothing happened."""
    uses, events = list(uses), list(events)
    held, idle, there = (defaultdict[date, float](float) for _ in range(3))
    people: defaultdict[tuple[str, str], list[Use]] = defaultdict(list)
    for day, use in uses:
        held[day] += use.seconds
        idle[day] += use.idle
        people[use.owner, use.model].append(use)
    for day, event in events:
        if event.kind is UsageKind.CAPACITY:
            there[day] += event.amount
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    days = [
        Day(d, (held[d] - idle[d]) / HOUR, idle[d] / HOUR, max(0, there[d] - held[d]) / HOUR) for d in every
    ]
    return UsageReport(days, [_sum(own) for own in people.values()], [event for _, event in events])


def _sum(uses: Sequence[Use]) -> Use:
    last = uses[-1]
    seconds, idle = sum(use.seconds for use in uses), sum(use.idle for use in uses)
    return Use(last.owner, last.model, seconds, idle, last.name)


def summary(found: UsageReport, picture: Picture | None) -> Reply:
    """For admins: the sums, then who used what."""
    busy, idle = sum(day.busy for day in found.days), sum(day.idle for day in found.days)
    title = t("report.title", count=len(found.days), days=len(found.days), busy=busy, idle=idle)
    return Reply(title, lines=tuple(_lines(found)), table=_table(found.uses), picture=picture)


def _lines(found: UsageReport) -> Iterable[Text]:
    back, _ = found.total(UsageKind.BACK)
    waited, times = found.total(UsageKind.WAITED)
    if back:
        yield t("report.back", hours=back / HOUR)
    if times:
        yield t("report.waited", count=times, span=timedelta(seconds=waited / times))
    if found.uses:
        longest = max(found.uses, key=lambda use: use.idle)
        yield t("report.longest", model=longest.model, who=longest.name, hours=longest.idle / HOUR)
    causes: Counter[str] = Counter()
    for event in found.events:
        if event.kind is UsageKind.FAILED:
            causes[event.about] += event.times
    if causes:
        named = ", ".join(f"{count} × {cause}" for cause, count in causes.most_common())
        yield t("report.failed", causes=named)


def _table(uses: Sequence[Use]) -> Table | None:
    rows = sorted(uses, key=lambda use: -use.seconds)[:ROWS]
    header = tuple(t(f"report.{name}") for name in ("who", "model", "hours", "idle_hours"))
    return Table(header, tuple(_row(use) for use in rows)) if rows else None


def _row(use: Use) -> tuple[Text, ...]:
    hours = (t("report.number", hours=figure / HOUR) for figure in (use.seconds, use.idle))
    return (verbatim(use.name or use.owner), verbatim(use.model), *hours)


def usage(found: UsageReport, owner: str) -> Reply:
    """For one person: what they used."""
    own = [use for use in found.uses if use.owner == owner]
    total = sum(use.seconds for use in own) / HOUR
    title = t("report.usage", count=len(found.days), days=len(found.days), hours=total)
    return Reply(title, table=_table(own), private=True)
