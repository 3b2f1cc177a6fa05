"""How long a start still takes: never a guess, never more than it was a moment ago."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.chat.text import t
from bot.core.deployment.ending import Ending
from bot.core.deployment.estimate import left_lines, time_left, usual_lines
from bot.core.deployment.record import Record
from bot.core.deployment.start_times import StartTimes
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.ports import Progress
from tests.conftest import Say

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
SPEC = Spec(name="m", model="m", repo="a/b", max_model_len=2048)


def times(loading: float, pulling: float | None = 0, waiting: float = 0) -> StartTimes:
    return StartTimes(waiting=waiting, pulling=pulling, downloading=0, loading=loading)


THREE = (times(90, pulling=40), times(70), times(80, pulling=None, waiting=600))


def workload(phase: Phase, *starts: StartTimes, **more: Any) -> Workload:
    """One whose phase began now, an hour after it was asked for."""
    asked = NOW - timedelta(hours=1)
    record = Record(owner="ada", owner_name="ada", start_requested_at=asked, start_times=starts)
    return Workload(spec=SPEC, record=record, phase=phase, since=NOW, created=asked, **more)


def left(
    phase: Phase, *starts: StartTimes, passed: float = 0, progress: Progress | None = None, **more: Any
) -> float | None:
    """Seconds, so many after the phase began."""
    found = time_left(workload(phase, *starts, **more), progress, NOW + timedelta(seconds=passed))
    return found.total_seconds() if found else None


def test_what_it_waited_for_a_node_is_no_part_of_it() -> None:
    assert left(Phase.LOADING, *THREE) == 80
    assert left(Phase.LOADING, *THREE, passed=30) == 50


def test_a_pull_counts_only_while_there_is_one_and_only_if_one_is_known() -> None:
    assert left(Phase.PULLING, *THREE, passed=10) == 30 + 80
    assert left(Phase.PULLING, times(80), times(70)) is None


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.SCHEDULING, Phase.PREPARING, Phase.READY])
def test_before_it_has_a_container_nobody_knows_whether_its_image_is_there(phase: Phase) -> None:
    assert left(phase, *THREE) is None


@pytest.mark.parametrize(
    "more",
    [
        {"passed": 80},
        {"passed": 3600},
        {"cause": "mount"},
        {"last_end": Ending(number=1, run="a/0", at=NOW, cause="crashed")},
        {"progress": Progress(Phase.DOWNLOADING, t("progress.downloading"))},
        {"progress": Progress(Phase.LOADING, t("progress.starting"), left=timedelta(minutes=50))},
    ],
)
def test_none_rather_than_a_wrong_one(more: dict[str, Any]) -> None:
    """It takes longer than usual, is held up, tried again, downloads, or its log knows better."""
    assert left(Phase.LOADING, *THREE, **more) is None
    assert left(Phase.LOADING) is None


def test_a_node_whose_clock_is_ahead_makes_it_no_longer() -> None:
    assert left(Phase.LOADING, *THREE, passed=-600) == 80


@given(
    loadings=st.lists(st.floats(1, 600), min_size=1, max_size=5),
    pulls=st.lists(st.none() | st.floats(0, 600), min_size=5, max_size=5),
    pulled=st.floats(0, 900),
    looks=st.lists(st.floats(0, 1500), max_size=20),
)
def test_it_never_grows(
    loadings: list[float], pulls: list[float | None], pulled: float, looks: list[float]
) -> None:
    starts = [times(loading, pulling) for loading, pulling in zip(loadings, pulls, strict=False)]
    before = float("inf")
    for passed in sorted(looks):
        pulls_still = passed < pulled
        phase = Phase.PULLING if pulls_still else Phase.LOADING
        now = left(phase, *starts, passed=passed if pulls_still else passed - pulled)
        if now is not None:
            assert 0 < now <= before + 1e-3
            before = now


def test_it_says_what_it_rests_on(say: Say) -> None:
    def said(phase: Phase, *starts: StartTimes) -> list[str]:
        return [say(line) for line in left_lines(workload(phase, *starts), None, NOW)]

    assert said(Phase.LOADING, *THREE) == [
        "about 1 min 20 s left (last 3 starts: 1 min 10 s to 1 min 30 s of loading)"
    ]
    assert said(Phase.LOADING, THREE[0]) == ["about 1 min 30 s left (last start: 1 min 30 s of loading)"]
    assert said(Phase.PULLING, *THREE[:2]) == [
        "about 2 min left (last 2 starts: 1 min 10 s to 1 min 30 s of loading; pulling the image takes 40 s)"
    ]
    assert said(Phase.LOADING) == []


def test_a_wake_tells_what_is_usual(say: Say) -> None:
    def said(*starts: StartTimes) -> list[str]:
        return [say(line) for line in usual_lines(workload(Phase.ASLEEP, *starts).record)]

    assert said(times(41.2), times(40.8)) == ["about 41 s of loading (last 2 starts: 41 s)"]
    assert said(times(41)) == ["about 41 s of loading (last start)"]
    assert said() == []
