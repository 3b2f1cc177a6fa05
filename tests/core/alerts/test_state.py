"""What is remembered of alerts has an end, whether anybody hears of them or not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from bot.core.alerts.state import MOST, AlertKind, AlertState, Incident
from bot.core.ports import GpuNode

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
        state = step(state.with_gpu_counts([], NOW).with_incidents([incident], NOW), NOW)
        assert [alert.about for alert in state.alerts.values() if alert.ended is None] == [incident.about]
    assert len(state.alerts) == 1 and state.posts == {}


def test_a_node_that_is_new_should_have_what_it_reports_or_what_its_like_have() -> None:
    nodes = [
        GpuNode("whole", 4, {}),
        GpuNode("lost-one", 3, {}),
        GpuNode("another-kind", 2, {}),
        GpuNode("unhealthy", 2, {}, installed=4),
    ]
    state = AlertState().with_gpu_counts(nodes, NOW)
    assert state.gpus == {"whole": 4, "lost-one": 4, "another-kind": 2, "unhealthy": 4}
    so_be_it = AlertState(gpus={"lost-one": 3, "unhealthy": 2}).with_gpu_counts(nodes, NOW)
    assert (so_be_it.gpus["lost-one"], so_be_it.gpus["unhealthy"]) == (3, 2)
