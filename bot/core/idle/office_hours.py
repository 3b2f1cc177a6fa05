"""Office hours: `mo-fr 8-20`. Inside them a model stays warm, outside it sleeps."""

import re
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from bot.core.chat.languages import DAYS

_HOURS = re.compile(r"([^\W\d_]+)(?:-([^\W\d_]+))?[ ,/]+(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?")


class OfficeHours:
    """`typed` as people write it, days in any language of `bot/locales/`; ValueError if it is not that.

    Hours that end before they begin go over midnight, and belong to the day on which they begin."""

    def __init__(self, typed: str) -> None:
        found = _HOURS.fullmatch(typed.strip().lower())
        if found is None or found[1] not in DAYS or (found[2] or found[1]) not in DAYS:
            raise ValueError("office hours are written like mo-fr 8-20")
        first, last = DAYS[found[1]], DAYS[found[2] or found[1]]
        self.days = {(first + days) % 7 for days in range((last - first) % 7 + 1)}
        self._begin, self._end = _time(found[3], found[4]), _time(found[5], found[6])

    def inside(self, now: datetime, zone: ZoneInfo) -> bool:
        """By the clocks on the wall, whatever a night of changing clocks does."""
        local = now.astimezone(zone)
        today, yesterday = local.weekday(), (local - timedelta(days=1)).weekday()
        at = local.time()
        if self._begin < self._end:
            return today in self.days and self._begin <= at < self._end
        return (today in self.days and at >= self._begin) or (yesterday in self.days and at < self._end)


def _time(hour: str, minute: str | None) -> time:
    """24 is the midnight at the end of a day."""
    return time(int(hour) % 24 if int(hour) == 24 else int(hour), int(minute or 0))
