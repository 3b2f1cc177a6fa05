"""Durations and times of day as people type them."""

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_PART = re.compile(r"(\d{1,6})\s*(d|h|min|m|s)")
_SECONDS = {"d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}


def parse_duration(typed: str) -> timedelta:
    """Read `4h`, `90m`, `1h30m`, `2d`; ValueError if it is not that."""
    typed = typed.strip().lower()
    parts = _PART.findall(typed)
    if not parts or _PART.sub("", typed).strip():
        raise ValueError("a duration is written like 4h, 90m or 1h30m")
    return timedelta(seconds=sum(int(count) * _SECONDS[unit] for count, unit in parts))


def spell_duration(value: timedelta) -> str:
    """As one would type it."""
    rest, words = int(value.total_seconds()), ""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, _SECONDS[unit])
        words += f"{count}{unit}" if count else ""
    return words or "0s"


def next_time(now: datetime, at: time, zone: ZoneInfo) -> datetime:
    """The next moment, in UTC, when the clocks of a zone show `at`. Where a night has it twice, the first
    one; where a night has it not, as much later as the clocks went ahead."""
    local = now.astimezone(zone)
    for days in (0, 1):
        found = datetime.combine(local.date() + timedelta(days=days), at, zone).astimezone(UTC)
        if found > now:
            return found
    raise AssertionError("tomorrow is later than now")


def end_of(now: datetime, span: timedelta | time, zone: ZoneInfo) -> datetime:
    """When so long is over, or when it is that time of day."""
    return next_time(now, span, zone) if isinstance(span, time) else now + span
