"""Office hours: `mo-fr 8-20`. Inside of them a model stays awake, outside it sleeps."""

import re
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from bot.core.chat.languages import DAYS

_HOURS = re.compile(r"([^\W\d_]+)(?:-([^\W\d_]+))?[ ,/]+(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?")


class OfficeHours:
    """Office hours as people type them, with days in any language of `bot/locales/`; ValueError if they are
    not written like `mo-fr 8-20`.

    Hours that end before they begin last over midnight, and belong to the day on which they begin."""

    def __init__(self, typed: str) -> None:
        match = _HOURS.fullmatch(typed.strip().lower())
        if match is None or match[1] not in DAYS or (match[2] or match[1]) not in DAYS:
            raise ValueError("office hours are written like mo-fr 8-20")
        first, last = DAYS[match[1]], DAYS[match[2] or match[1]]
        self.days = {(first + days) % 7 for days in range((last - first) % 7 + 1)}
        """Days of the week; Monday is 0."""
        self._begin, self._end = _time(match[3], match[4]), _time(match[5], match[6])

    def inside(self, now: datetime, zone: ZoneInfo) -> bool:
        """A moment is inside of them, by what the clocks of the zone show then."""
        local = now.astimezone(zone)
        today, yesterday = local.weekday(), (local - timedelta(days=1)).weekday()
        at = local.time()
        if self._begin < self._end:
            return today in self.days and self._begin <= at < self._end
        return (today in self.days and at >= self._begin) or (yesterday in self.days and at < self._end)


def _time(hour: str, minute: str | None) -> time:
    """The time of day; hour 24 is midnight."""
    return time(int(hour) % 24 if int(hour) == 24 else int(hour), int(minute or 0))
