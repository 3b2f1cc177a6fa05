"""The chart of a report."""

from datetime import date, timedelta

import pytest

from bot.core.usage.reports import Day
from bot.observability.chart import draw, ticks

FIRST = date(2030, 1, 30)


def days(count: int) -> list[Day]:
    return [Day(FIRST + timedelta(days=number), 1.0, 2.0, 3.0) for number in range(count)]


def test_dates_are_written_as_in_the_language_of_the_report() -> None:
    assert ticks(days(3), "de") == {0: "30. Jan.", 1: "31. Jan.", 2: "1. Feb."}
    assert ticks(days(3), "en") == {0: "Jan 30", 1: "Jan 31", 2: "Feb 1"}


def test_of_many_days_only_some_have_their_date() -> None:
    assert list(ticks(days(92), "en")) == list(range(0, 92, 10))


@pytest.mark.parametrize("count", [1, 7, 92])
def test_it_is_a_picture(count: int) -> None:
    png = draw(days(count), ["busy", "idle", "free"], "GPU-hours", "en")
    assert png.startswith(b"\x89PNG")
