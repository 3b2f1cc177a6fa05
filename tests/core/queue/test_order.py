"""A fair line: who starts, who waits, and when."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bot.core.access.roles import Role
from bot.core.queue.order import QueueEntry, Release, forecast, in_order, startable

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def wish(name: str, tp: int, minutes: int = 0, **more: Any) -> QueueEntry:
    return QueueEntry(name, tp, NOON + timedelta(minutes=minutes), **more)


def test_urgent_then_role_then_who_uses_least_then_who_came_first() -> None:
    line = [
        wish("late", 1, 9),
        wish("early", 1, 1),
        wish("greedy", 1, 0, used=4),
        wish("researcher", 1, 9, role=Role.RESEARCHER, used=8),
        wish("urgent", 1, 9, urgent=True),
    ]
    assert [w.name for w in in_order(line)] == ["urgent", "researcher", "early", "late", "greedy"]


def test_all_that_fit_start_each_where_it_fits_most_tightly() -> None:
    assert startable({"a": 4, "b": 1}, [wish("small", 1), wish("big", 4)]) == ["small", "big"]
    assert startable({"a": 2, "b": 1}, [wish("two", 1, replicas=2), wish("more", 2)]) == ["two"]


def test_a_big_one_is_not_starved_by_small_ones() -> None:
    line = [wish("big", 4), wish("small", 1)]
    assert startable({"a": 3, "b": 0}, line) == []  # the node that will be free first is kept
    assert startable({"a": 3, "b": 1}, line) == []  # the scheduler might put the small one on it
    assert startable({"a": 4, "b": 1}, line) == ["big", "small"]
    assert startable({"a": 1, "b": 0}, [wish("big", 4), wish("two", 2), wish("small", 1)]) == []


def test_the_forecast_adds_up_what_is_released_node_by_node() -> None:
    releases = [
        Release(NOON + timedelta(minutes=30), "a", 2),
        Release(NOON + timedelta(minutes=20), "b", 4),
        Release(NOON + timedelta(minutes=50), "a", 1),
    ]
    line = [wish("first", 4), wish("second", 3), wish("third", 4)]
    found = forecast({"a": 1, "b": 0}, releases, line)
    assert found == {"first": NOON + timedelta(minutes=20), "second": NOON + timedelta(minutes=30)}


NODES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 4), min_size=1)
LINES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), max_size=8)


@given(NODES, LINES)
def test_nobody_starts_without_gpus_and_the_first_is_never_passed_on_its_node(
    free: dict[str, int], asked: list[tuple[int, int]]
) -> None:
    line = [wish(f"w{n}", tp, replicas=replicas) for n, (tp, replicas) in enumerate(asked)]
    names = startable(free, line)
    started = [w for w in line if w.name in names]
    assert sum(w.tp * w.replicas for w in started) <= sum(free.values())
    if line and not names:
        assert max(free.values()) < line[0].tp or line[0].replicas > 1
    waiting = [w for w in line if w.name not in names]
    if waiting and line[0] is waiting[0] and line[0].replicas == 1:
        best = max(free.values())
        assert all(w.tp > best for w in started)  # so none of them can take what it waits for
