"""What a start teaches: the times of its own stages, or nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.core.deployment.start_times import LONGEST, Stages, StartTimes, learned

ASKED = datetime(2030, 1, 1, 12, tzinfo=UTC)


def stages(**more: Any) -> Stages:
    """A start whose container began after 5 seconds, and that was ready 100 seconds later."""
    usual = {"run": "uid/0", "created": ASKED, "waiting": 1, "preparing": 4, "pulling": 0, "running": 100}
    return Stages(**(usual | more))


def taught(found: Stages, downloading: float | None = 0, after: float = 3600) -> StartTimes | None:
    return learned(found, downloading, ASKED, ASKED + timedelta(seconds=after))


def test_each_stage_is_learned_apart() -> None:
    found = taught(stages(waiting=20, preparing=43.26, pulling=40, running=160), downloading=60)
    assert found == StartTimes(waiting=20, pulling=40, downloading=60, loading=100)


def test_ten_minutes_without_a_free_cpu_teach_the_ten_seconds_after_them() -> None:
    found = taught(stages(waiting=600, running=10))
    assert found and (found.waiting, found.loading) == (600, 10)


def test_a_pull_that_nobody_has_seen_leaves_the_rest_known() -> None:
    found = taught(stages(preparing=30, pulling=None))
    assert found and (found.pulling, found.loading) == (None, 100)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(stages(preparing=64.5, pulling=4), id="a volume was not mounted for a minute"),
        pytest.param(stages(preparing=64.5, pulling=None), id="held up, or a pull that nobody has seen"),
        pytest.param(stages(created=ASKED - timedelta(minutes=5)), id="a scale that started nothing"),
        pytest.param(stages(created=ASKED + timedelta(minutes=5)), id="it has replaced another pod"),
        pytest.param(stages(running=-1), id="a clock was set back while it loaded"),
        pytest.param(stages(preparing=-3600), id="a clock was set back while it was prepared"),
        pytest.param(stages(waiting=-2), id="it had its node before it was made"),
        pytest.param(stages(running=3700), id="a clock was set forward: longer than since it was asked for"),
        pytest.param(stages(running=30), id="it downloaded for longer than it ran"),
    ],
)
def test_what_was_held_up_is_another_start_s_or_cannot_be_teaches_nothing(found: Stages) -> None:
    assert taught(found, downloading=60 if found.running == 30 else 0) is None


def test_what_is_longer_than_any_start_teaches_nothing() -> None:
    """Of a start that nobody watched: how long ago it was asked for says nothing then."""
    assert taught(stages(running=LONGEST), after=1e6) is not None
    assert taught(stages(running=LONGEST + 1), after=1e6) is None


def test_without_stamps_or_a_log_there_is_nothing_to_learn() -> None:
    assert learned(None, 0, ASKED, ASKED) is None
    assert taught(stages(), downloading=None) is None
