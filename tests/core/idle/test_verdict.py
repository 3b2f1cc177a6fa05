"""The rule of idleness, against the same rule written down naively, over random lives of models."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from bot.core.idle.verdict import ActivityWindow, IdleState, LivenessInputs
from bot.core.ports import Load

START = datetime(2030, 1, 1, tzinfo=UTC)
WINDOW, INTERVAL = timedelta(minutes=30), timedelta(minutes=1)
NOTHING = Load(0, 0, 100.0)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def watched(loads: Sequence[Load | None], *, begin: int = 0) -> ActivityWindow:
    """A sample a minute; None is a scrape that failed."""
    quiet = ActivityWindow(INTERVAL)
    for minute, load in enumerate(loads, begin):
        if load is not None:
            quiet.add_sample(at(minute), {"pod/0": load}, 2 * WINDOW)
    return quiet


def state(
    quiet: ActivityWindow,
    minute: float,
    *,
    since: datetime = START,
    keep_until: datetime | None = None,
    in_flight: int = 0,
) -> IdleState:
    return quiet.judge(at(minute), LivenessInputs(since, keep_until, in_flight), WINDOW).state


def test_a_model_that_nobody_touched_is_idle_after_the_window() -> None:
    assert state(watched([NOTHING] * 30), 29.9) is IdleState.ACTIVE
    quiet = watched([NOTHING] * 31)
    assert state(quiet, 30) is IdleState.IDLE
    verdict = quiet.judge(at(30), LivenessInputs(START), WINDOW)
    assert (verdict.since, verdict.due, verdict.seen, verdict.window) == (START, at(30), WINDOW, WINDOW)


@pytest.mark.parametrize(
    "last",
    [Load(0, 0, 101.0), Load(1, 0, 100.0), Load(0, 1, 100.0), Load(0, 0, 3.0)],
    ids=["a token", "a request", "one that waits", "a counter that began again"],
)
def test_any_change_is_a_sign_of_life(last: Load) -> None:
    assert state(watched([NOTHING] * 30 + [last]), 30) is IdleState.ACTIVE


def test_a_stream_longer_than_the_window_is_activity() -> None:
    quiet = watched([Load(1, 0, 100.0 + minute) for minute in range(90)])
    assert all(state(quiet, minute) is IdleState.ACTIVE for minute in (89, 90))


def test_another_pod_and_a_restart_are_signs_of_life() -> None:
    quiet = watched([NOTHING] * 30)
    quiet.add_sample(at(30), {"pod/1": NOTHING}, WINDOW)
    assert state(quiet, 30) is IdleState.ACTIVE


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        (range(2), IdleState.IDLE),
        (range(3), IdleState.UNKNOWN),
        (range(10, 11), IdleState.IDLE),
        (range(10, 12), IdleState.UNKNOWN),  # three minutes without a sample
        (range(1, 30, 2), IdleState.IDLE),  # each sample vouches for a minute before and after it
        (range(29, 31), IdleState.IDLE),  # a scrape or two that fail
        (range(28, 31), IdleState.UNKNOWN),  # it may have begun to work since
    ],
    ids=str,
)
def test_with_a_hole_of_more_than_two_sweeps_and_a_half_it_is_unknown(
    missing: range, found: IdleState
) -> None:
    loads = [None if minute in missing else NOTHING for minute in range(31)]
    assert state(watched(loads), 30) is found


def test_an_answer_in_flight_a_wake_and_a_wish_to_keep_it_count() -> None:
    quiet = watched([NOTHING] * 61)
    assert state(quiet, 60, in_flight=1) is IdleState.ACTIVE
    assert state(quiet, 60, since=at(45)) is IdleState.ACTIVE
    assert state(quiet, 60, keep_until=at(40)) is IdleState.ACTIVE  # a whole window after the end of it
    assert state(quiet, 60, keep_until=at(30)) is IdleState.IDLE


def test_a_clock_that_jumps_makes_nothing_idle() -> None:
    quiet = watched([NOTHING] * 10)
    assert state(quiet, 500) is IdleState.UNKNOWN
    quiet.add_sample(at(500), {"pod/0": NOTHING}, 2 * WINDOW)
    assert state(quiet, 500) is IdleState.UNKNOWN
    quiet.add_sample(at(20), {"pod/0": NOTHING}, 2 * WINDOW)  # and back
    assert state(quiet, 49) is IdleState.UNKNOWN
    assert state(quiet, 20) is IdleState.ACTIVE


def test_a_request_that_gets_no_token_is_suspect_until_it_was_probed() -> None:
    stuck = Load(106, 0, 100.0)
    quiet = watched([stuck] * 31)
    assert state(quiet, 30) is IdleState.SUSPECT
    quiet.ignore_probe({"pod/0": Load(0, 0, 101.0)})  # the gauge had stuck: the probe cleared it
    assert state(quiet, 30) is IdleState.IDLE
    quiet = watched([stuck] * 31)
    quiet.ignore_probe({"pod/0": Load(106, 0, 101.0)})
    assert state(quiet, 30) is IdleState.SUSPECT
    quiet.ignore_probe({"pod/0": Load(106, 0, 102.0)})
    assert state(quiet, 30) is IdleState.IDLE


Sample = tuple[datetime, dict[str, Load]]
"""When it was looked at, and what each pod said."""


def seen_well(times: list[datetime], now: datetime, window: timedelta) -> bool:
    """Nine tenths of it are within a minute of a sample, and nowhere 2.5 minutes are without one."""
    begin = now - window
    times = [t for t in times if t >= begin - INTERVAL]
    stops = [begin, *(t for t in times if begin < t < now), now]
    holes = [later - earlier for earlier, later in pairwise(stops)]
    ends = sorted({begin, now, *(t - INTERVAL for t in times), *(t + INTERVAL for t in times)})
    pieces = [(a, b) for a, b in pairwise(ends) if begin <= a and b <= now]
    near = [b - a for a, b in pieces if any(t - INTERVAL <= a and b <= t + INTERVAL for t in times)]
    return sum(near, timedelta(0)) >= 0.9 * window and max(holes) <= 2.5 * INTERVAL


def oracle(now: datetime, samples: list[Sample], life: LivenessInputs, window: timedelta) -> IdleState:
    """DESIGN's sentence, word by word, over everything that was ever seen."""
    if life.in_flight:
        return IdleState.ACTIVE
    if not samples or not timedelta(0) <= now - samples[-1][0] <= 2.5 * INTERVAL:
        return IdleState.UNKNOWN
    backwards = [i for i in range(1, len(samples)) if samples[i][0] < samples[i - 1][0]]
    samples = samples[backwards[-1] :] if backwards else samples
    moved = [t for i, (t, load) in enumerate(samples) if i and load != samples[i - 1][1]]
    if now - max([life.since, life.keep_until or life.since, *moved]) < window:
        return IdleState.ACTIVE
    if not seen_well([t for t, _ in samples], now, window):
        return IdleState.UNKNOWN
    return (
        IdleState.SUSPECT
        if any(load.running or load.waiting for load in samples[-1][1].values())
        else IdleState.IDLE
    )


class Model:
    """A model and its people, at random."""

    def __init__(self, dice: random.Random) -> None:
        self.dice, self.now = dice, START
        self.tokens, self.running, self.restart = 100.0, 0, 0
        self.since = START
        self.kept: datetime | None = None

    def live(self) -> None:
        """A minute or so: requests, restarts, keeps, and clocks that are set."""
        dice = self.dice
        self.now += INTERVAL * dice.choice([1] * 8 + [1.02, 0.98])
        event = dice.choices(range(6), [89, 2, 3, 3, 1, 2])[0]
        if event == 1:
            self.now += timedelta(minutes=dice.choice([-30, -5, 5, 45, 600]))
        elif event == 2:
            self.tokens += dice.randint(1, 50)
        elif event == 3:
            self.running = dice.choice([0, 0, 1, 3])
        elif event == 4:
            self.restart, self.tokens, self.running = self.restart + 1, 0.0, 0
        elif event == 5:
            self.kept = self.now + timedelta(minutes=dice.randint(1, 60))
            self.since = dice.choice([self.since, max(self.since, self.now)])

    def loads(self) -> dict[str, Load]:
        return {f"pod/{self.restart}": Load(self.running, 0, self.tokens)}


def life_of_a_model(dice: random.Random) -> None:
    """After each sweep both must agree; some sweeps see nothing."""
    window = timedelta(minutes=dice.choice([10, 15, 30]))
    quiet, model = ActivityWindow(INTERVAL), Model(dice)
    samples: list[Sample] = []
    for _ in range(dice.randint(15, 70)):
        model.live()
        if dice.random() > 0.04:
            quiet.add_sample(model.now, model.loads(), 2 * window)
            samples.append((model.now, model.loads()))
        life = LivenessInputs(model.since, model.kept, dice.choice([0] * 30 + [1]))
        judged = quiet.judge(model.now, life, window).state
        assert judged is oracle(model.now, samples, life, window)


@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_random_lives_are_judged_as_the_rule_says(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(1000):
        life_of_a_model(dice)
