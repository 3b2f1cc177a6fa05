"""Times of day and office hours, also in the two nights when clocks change."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.core.chat.duration import next_time
from bot.core.idle.office_hours import OfficeHours

BERLIN = ZoneInfo("Europe/Berlin")


def berlin(year: int, month: int, day: int, hour: int = 0, minute: int = 0, *, fold: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=BERLIN, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    "now, at, found",
    [
        (berlin(2030, 1, 8, 12), time(22), berlin(2030, 1, 8, 22)),
        (berlin(2030, 1, 8, 22), time(22), berlin(2030, 1, 9, 22)),
        (berlin(2030, 3, 30, 23), time(22), berlin(2030, 3, 31, 22)),  # the short night
        (berlin(2030, 3, 31, 1), time(2, 30), berlin(2030, 3, 31, 3, 30)),  # 2:30 does not exist in it
        (berlin(2030, 10, 26, 23), time(22), berlin(2030, 10, 27, 22)),  # the long one
        (berlin(2030, 10, 27, 1), time(2, 30), berlin(2030, 10, 27, 2, 30)),  # twice: the first
    ],
)
def test_the_next_time_of_day(now: datetime, at: time, found: datetime) -> None:
    assert next_time(now, at, BERLIN) == found


def test_a_day_of_changing_clocks_has_23_or_25_hours() -> None:
    assert next_time(berlin(2030, 3, 30, 22), time(22), BERLIN) - berlin(2030, 3, 30, 22) == timedelta(
        hours=23
    )
    assert next_time(berlin(2030, 10, 26, 22), time(22), BERLIN) - berlin(2030, 10, 26, 22) == timedelta(
        hours=25
    )


HOURS = {  # days of January 2030; the 7th is a Monday
    "mo-fr 8-20": (["7 8:00", "11 19:59"], ["7 7:59", "11 20:00", "12 9:00"]),
    "Mo-Fr 8:30-20:15": (["7 8:30"], ["7 8:29", "7 20:15"]),
    "mo-fr 22-6": (["7 23:00", "12 5:59"], ["7 5:00", "7 12:00", "12 23:00"]),
    "sa-so,0-24": (["12 0:00", "13 23:00"], ["14 0:01", "11 23:00"]),
    "fr-mo 8-20": (["11 9:00", "14 9:00"], ["15 9:00"]),
    "mi 8-20": (["9 9:00"], ["8 9:00"]),
}


@pytest.mark.parametrize("typed", HOURS)
def test_office_hours(typed: str) -> None:
    def inside(moment: str) -> bool:
        local = datetime.strptime(f"2030 1 {moment}", "%Y %m %d %H:%M").replace(tzinfo=BERLIN)
        return OfficeHours(typed).inside(local.astimezone(UTC), BERLIN)

    assert all(map(inside, HOURS[typed][0])) and not any(map(inside, HOURS[typed][1]))


def test_hours_in_the_night_that_lacks_one() -> None:
    hours = OfficeHours("su 1-4")
    assert hours.inside(berlin(2030, 3, 31, 1, 30), BERLIN)
    assert hours.inside(berlin(2030, 3, 31, 3, 30), BERLIN)
    assert not hours.inside(berlin(2030, 3, 31, 4), BERLIN)


@pytest.mark.parametrize("fold", [0, 1])
def test_the_hour_that_comes_twice_is_inside_twice(fold: int) -> None:
    assert OfficeHours("su 2-3").inside(berlin(2030, 10, 27, 2, 30, fold=fold), BERLIN)


@pytest.mark.parametrize(
    "typed", ["", "8-20", "mo-xx 8-20", "mo-fr", "mo-fr 25-26", "mo-fr 8:99-9", "x" * 5000]
)
def test_what_is_no_office_hours(typed: str) -> None:
    with pytest.raises(ValueError):
        OfficeHours(typed)
