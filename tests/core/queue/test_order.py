"""A fair line: who comes first, and when the others will start."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core.access.roles import Role
from bot.core.queue.order import LONGEST_HEAD_START, QueueEntry, Release, about, forecast, in_order

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = 3600.0


def wish(name: str, tp: int, minutes: float = 0, **more: Any) -> QueueEntry:
    return QueueEntry(name, tp, NOON + timedelta(minutes=minutes), **more)


def test_urgent_then_role_then_who_uses_least_then_who_came_first() -> None:
    line = [
        wish("late", 1, 9),
        wish("early", 1, 1),
        wish("greedy", 1, 0, used=4 * HOUR),
        wish("researcher", 1, 9, role=Role.RESEARCHER, used=8 * HOUR),
        wish("urgent", 1, 9, urgent=True),
    ]
    assert [w.name for w in in_order(line)] == ["urgent", "researcher", "early", "late", "greedy"]


def test_who_waits_longer_beats_use_role_and_urgency_in_the_end() -> None:
    student = wish("student", 1, 0, used=500 * HOUR)
    assert in_order([student, wish("frugal", 1, 3 * 60)])[0].name == "frugal"
    assert in_order([student, wish("frugal", 1, 5 * 60)])[0].name == "student"
    assert in_order([student, wish("admin", 1, 7 * 60, role=Role.ADMIN, used=500 * HOUR)])[0].name == "admin"
    assert (
        in_order([student, wish("admin", 1, 9 * 60, role=Role.ADMIN, used=500 * HOUR)])[0].name == "student"
    )


def test_nobody_overtakes_one_who_has_waited_for_a_day() -> None:
    dice = random.Random(0)
    for _ in range(100_000):
        waits = wish("waits", 1, 0, used=dice.choice([0, 1e3, 1e9]), role=dice.choice(list(Role)))
        minutes = dice.uniform(0, 2) + LONGEST_HEAD_START.total_seconds() / 60
        urgent, role = dice.random() < 0.5, dice.choice(list(Role))
        new = wish("new", 1, minutes, used=dice.uniform(0, 1e6), role=role, urgent=urgent)
        assert [entry.name for entry in in_order([new, waits])] == ["waits", "new"]


def test_the_forecast_adds_up_what_is_released_node_by_node() -> None:
    releases = [
        Release(NOON + timedelta(minutes=30), "a", 2),
        Release(NOON + timedelta(minutes=20), "b", 4),
        Release(NOON + timedelta(minutes=50), "a", 1),
    ]
    line = [wish("first", 4), wish("second", 3), wish("third", 4)]
    found = forecast({"a": 1, "b": 0}, releases, line, NOON)
    assert found == {"first": NOON + timedelta(minutes=20), "second": NOON + timedelta(minutes=30)}
    both = forecast({"a": 1, "b": 0}, releases, [wish("both", 3, replicas=2)], NOON)
    assert both == {"both": NOON + timedelta(minutes=30)}


def test_what_should_have_been_released_long_ago_is_no_forecast() -> None:
    now = NOON + timedelta(hours=1)
    releases = [Release(NOON, "a", 4), Release(now + timedelta(minutes=7), "b", 4)]
    found = forecast({"a": 0, "b": 0, "c": 1}, releases, [wish("big", 4, -90), wish("small", 1)], now)
    assert found == {"big": now + timedelta(minutes=7), "small": now}


def test_a_time_is_told_in_steps_and_is_never_over() -> None:
    dice = random.Random(0)
    for _ in range(1000):
        moment = NOON + timedelta(seconds=dice.uniform(0, 86_400))
        told = about(moment)
        assert moment <= told < moment + timedelta(minutes=5) and told.minute % 5 == 0 and not told.second
    assert about(NOON) == NOON
