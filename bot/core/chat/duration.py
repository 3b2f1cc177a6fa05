"""Durations and times of day as people type them."""

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_PART = re.compile(r"(\d{1,6})\s*(d|h|min|m|s)")
_SECONDS = {"d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}


def parse_duration(typed: str) -> timedelta:
    """Read `4h`, `90m`, `1h30m`, `2d`; ValueError if it is not written like that."""
    typed = typed.strip().lower()
    parts = _PART.findall(typed)
    if not parts or _PART.sub("", typed).strip():
        raise ValueError("a duration is written like 4h, 90m or 1h30m")
    return timedelta(seconds=sum(int(count) * _SECONDS[unit] for count, unit in parts))


def spell_duration(value: timedelta) -> str:
    """The duration as one would type it, in whole seconds: `1h30m`."""
    rest, words = int(value.total_seconds()), ""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, _SECONDS[unit])
        words += f"{count}{unit}" if count else ""
    return words or "0s"


def next_time(now: datetime, at: time, zone: ZoneInfo) -> datetime:
    """The next moment, in UTC, at which the clocks of a zone show the time of day `at`.

    In a night that has this time twice it is the first one; in a night that skips it, it is as much later as
    the clocks were put forward."""
    local = now.astimezone(zone)
    for days in (0, 1):
        moment = datetime.combine(local.date() + timedelta(days=days), at, zone).astimezone(UTC)
        if moment > now:
            return moment
    raise AssertionError("tomorrow is later than now")


def end_time(now: datetime, span: timedelta | time, zone: ZoneInfo) -> datetime:
    """When a duration that begins now is over, or when a time of day comes next in the zone."""
    return next_time(now, span, zone) if isinstance(span, time) else now + span
