"""What is remembered of alerts has an end, whether anybody hears of them or not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from bot.core.alerts.state import MOST, AlertKind, AlertState, Incident

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
Step = Callable[[AlertState, datetime], AlertState]


def without_posts(state: AlertState, now: datetime) -> AlertState:
    return state.without_posts()


def silenced(state: AlertState, now: datetime) -> AlertState:
    """There is a place, and somebody wants to hear of none of them for a year."""
    quiet = {name: now + timedelta(days=365) for name in state.alerts}
    return state.with_alerts((), silenced=quiet).with_new_posts(now)


@pytest.mark.parametrize("step", [without_posts, silenced])
def test_what_nobody_is_told_of_takes_no_room_once_it_is_over(step: Step) -> None:
    state = AlertState()
    for number in range(MOST + 200):
        incident = Incident(AlertKind.FAILED, f"m{number}")
        state = step(state.with_gpu_counts({}, NOW).with_incidents([incident], NOW), NOW)
        assert [alert.about for alert in state.alerts.values() if alert.ended is None] == [incident.about]
    assert len(state.alerts) == 1 and state.posts == {}
