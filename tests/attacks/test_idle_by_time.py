"""Idle by time: what was not seen is not idle, however many samples there are."""

import random
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import pytest

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.deployment.workload import Phase
from bot.core.idle.verdict import ActivityWindow, IdleState, LivenessInputs
from bot.core.ports import Load
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Ask, Chat, Clock, PassTime, Say

START = datetime(2030, 1, 1, tzinfo=UTC)
SWEEP, WINDOW = timedelta(minutes=1), timedelta(minutes=30)
AT_REST = {"pod/0": Load(0, 0, 100.0)}
CASES = 25_000


def judged(times: list[float], now: float, window: timedelta = WINDOW) -> IdleState:
    """The verdict on a model that nobody used, of samples at these minutes."""
    seen = ActivityWindow(SWEEP)
    for minute in times:
        seen.add_sample(START + timedelta(minutes=minute), AT_REST, window)
    return seen.judge(START + timedelta(minutes=now), LivenessInputs(START), window).state


async def ready(ask: Ask, pass_time: PassTime, bot: App, clock: Clock) -> None:
    await ask("deploy tinyllama")
    await pass_time(200)
    for _ in range(3):
        clock.advance(minutes=1)
        await bot.services.activity.sweep()


async def test_kind_16_twenty_minutes_without_a_look_and_then_27_quick_ones_are_not_idle(
    ask: Ask, pass_time: PassTime, bot: App, clock: Clock, cluster: SimulatedCluster, say: Say
) -> None:
    await ready(ask, pass_time, bot, clock)
    for _ in range(8):
        clock.advance(minutes=1)
        await bot.services.activity.sweep()
    clock.advance(minutes=21)  # nobody looks; somebody may have asked it
    for _ in range(27):
        clock.advance(seconds=1)
        await ask("status tinyllama")  # looks, too
    clock.advance(minutes=1)
    await bot.sweep()
    [why] = await ask("why tinyllama")
    assert say(why.lines[0]).startswith("Not known: seen ") and "nothing for 21 min" in say(why.lines[0])
    for _ in range(9):  # while the hole is in its window
        clock.advance(minutes=1)
        await bot.sweep()
    found = cluster.find("tinyllama")
    assert found and found.phase is Phase.READY and found.record.warned_at is None


@pytest.mark.parametrize("seed", range(8))
def test_kind_16_a_hole_of_more_than_two_and_a_half_sweeps_is_never_idle(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(CASES):
        hole_from = dice.uniform(30, 57)
        hole = (hole_from, hole_from + dice.uniform(2.501, 10))
        times = sorted(dice.uniform(0, 60) for _ in range(dice.randint(1, 60)))
        seen = [minute for minute in times if not hole[0] < minute < min(hole[1], 60)]
        if min(hole[1], 60) - hole[0] > 2.5:
            assert judged(seen, 60) is not IdleState.IDLE


@pytest.mark.parametrize("seed", range(8))
def test_kind_16_sweeps_that_come_with_their_usual_jitter_always_show_that_it_is_idle(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(CASES // 10):
        steps = [dice.uniform(55, 65) / 60 for _ in range(70)]
        if dice.random() < 0.5:  # every second one fails
            steps = [a + b for a, b in zip(steps[::2], steps[1::2], strict=True)]
        times = list(accumulate(steps))
        times = times[: next(n for n, minute in enumerate(times) if minute > 34)]
        assert judged(times, times[-1]) is IdleState.IDLE


@pytest.mark.parametrize("seed", range(8))
def test_kind_16_a_clock_that_is_set_makes_nothing_idle_that_was_not_seen_for_its_window(seed: int) -> None:
    """Two hours back or forth, or a laptop that slept: what counts is the time that really passed."""
    dice = random.Random(seed)
    for _ in range(CASES // 10):
        seen, shown, watched = ActivityWindow(SWEEP), START, 0  # minutes that were seen in a row
        for _ in range(dice.randint(1, 60)):
            jump = timedelta(0)
            if dice.random() < 0.05:
                jump = timedelta(minutes=dice.choice([-120, 120, -7, 7, 45]))
                watched = -1
            shown, watched = shown + SWEEP + jump, watched + 1
            seen.add_sample(shown, AT_REST, WINDOW)
            state = seen.judge(shown, LivenessInputs(START), WINDOW).state
            assert state is not IdleState.IDLE or watched >= 27


async def test_kind_16_a_bot_that_starts_again_knows_nothing_of_before(
    ask: Ask,
    pass_time: PassTime,
    bot: App,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
) -> None:
    await ready(ask, pass_time, bot, clock)
    for _ in range(26):
        clock.advance(minutes=1)
        await bot.services.activity.sweep()
    again = wiring.build(settings, cluster, inference, chat, clock)
    states = []
    for _ in range(40):
        clock.advance(minutes=1)
        await again.services.activity.sweep()
        states.append(again.services.activity.verdict(cluster.workloads()[0]).state)
    await again.close()
    first_idle = states.index(IdleState.IDLE)
    assert IdleState.UNKNOWN in states and 26 <= first_idle <= 30


class OncePerMinute:
    """Servers that show what they do once in each moment, and are too busy for a second look if `busy`."""

    def __init__(self, inference: VllmInference, clock: Clock) -> None:
        self._inference, self._clock = inference, clock
        self._looked_at: datetime | None = None
        self.busy = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inference, name)

    async def load(self, url: str) -> Load | None:
        if self.busy and self._looked_at == self._clock.now():
            return None
        self._looked_at = self._clock.now()
        return await self._inference.load(url)


async def test_kind_16_one_that_does_not_answer_the_last_look_before_it_sleeps_stays_awake(
    ask: Ask,
    pass_time: PassTime,
    clock: Clock,
    cluster: SimulatedCluster,
    settings: Settings,
    inference: VllmInference,
    chat: Chat,
) -> None:
    await ask("deploy tinyllama")
    await pass_time(200)
    servers: Any = OncePerMinute(inference, clock)
    app = wiring.build(settings, cluster, servers, chat, clock)

    async def sweeps(count: int) -> None:
        for _ in range(count):
            clock.advance(minutes=1)
            cluster.step()
            await app.sweep()

    await sweeps(60)
    found = cluster.find("tinyllama")
    assert found and found.record.warned_at and found.phase is Phase.READY
    servers.busy = False
    await sweeps(1)
    found = cluster.find("tinyllama")
    assert found and found.phase is Phase.ASLEEP
    await app.close()
