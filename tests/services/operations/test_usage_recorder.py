"""What the ledger is told of sleeping models: only what the bot put to sleep was given back by it."""

from collections.abc import Awaitable, Callable
from datetime import date, timedelta

import pytest

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Spec
from bot.core.usage.records import UsageKind
from bot.engines.vllm.engine import Vllm
from bot.engines.vllm.inference import VllmInference
from bot.services.startup.start_recorder import StartRecorder
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Ask, Chat, Clock, PassTime, Say

Sweeps = Callable[[float], Awaitable[None]]
"""Lets hours pass, with a sweep in each minute."""


@pytest.fixture
def sweeps(bot: App, cluster: SimulatedCluster, clock: Clock) -> Sweeps:
    async def sweeps(hours: float) -> None:
        for _ in range(int(hours * 60)):
            clock.advance(minutes=1)
            cluster.step()
            await bot.sweep()

    return sweeps


@pytest.mark.parametrize("by", ["a person", "the bot"])
async def test_given_back_is_what_the_bot_put_to_sleep(
    ask: Ask, pass_time: PassTime, sweeps: Sweeps, say: Say, cluster: SimulatedCluster, by: str
) -> None:
    await ask("deploy tinyllama hours=mo-fr 8-20")  # it is 13:00 in Berlin
    await pass_time(200)
    if by == "a person":
        await ask("sleep tinyllama")
    await sweeps(10)  # the office closes: the model may wake when it opens again
    assert cluster.workloads()[0].replicas == 0
    *_, told = await ask("report", who="grace")
    assert any("were given back" in say(line) for line in told.lines) is (by == "the bot")


async def test_what_is_about_to_be_removed_was_given_back_by_whom_it_was_put_to_sleep(
    ask: Ask, pass_time: PassTime, sweeps: Sweeps, clock: Clock, cluster: SimulatedCluster, say: Say
) -> None:
    await ask("deploy tinyllama")
    await pass_time(200)
    await ask("sleep tinyllama")
    clock.advance(days=13, hours=1)
    await sweeps(0.1)
    asleep = cluster.workloads()[0].record.sleep_state
    assert asleep and asleep.removal_announced_at
    *_, told = await ask("report", who="grace")
    assert not any("were given back" in say(line) for line in told.lines)


async def test_a_clock_that_is_set_back_gives_nothing_back(
    bot: App, ask: Ask, clock: Clock, pass_time: PassTime
) -> None:
    for number in range(9):  # one more than there are GPUs
        await ask(f"deploy tinyllama name=m{number}", who="grace")
    await bot.sweep()
    today = clock.now().date() - timedelta(days=1)
    before = await bot.ledger.events(today)
    clock.advance(hours=-1)
    await ask("stop m0", who="grace")
    await pass_time(1)
    await bot.sweep()
    events = await bot.ledger.events(today)
    assert UsageKind.WAITED in {event.kind for _, event in events} and len(events) > len(before)
    assert all(event.amount >= 0 for _, event in events)


async def test_a_failure_is_written_down_once_its_log_has_been_read(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, chat: Chat, clock: Clock
) -> None:
    built = wiring.build(settings, cluster, inference, chat, clock)  # nobody reads logs here
    record = Record(owner="ada", owner_name="Ada", start_requested_at=clock.now())
    await cluster.create(Spec(name="tiny", model="tiny", repo="org/tiny", max_model_len=2048), record)
    clock.advance(seconds=200)
    cluster.step()
    await built.sweep()
    cluster.fail("tiny", "cuda_oom")

    async def failures() -> list[str]:
        clock.advance(seconds=5)
        cluster.step()
        await built.sweep()
        events = await built.ledger.events(date(2000, 1, 1))
        return [event.about for _, event in events if event.kind is UsageKind.FAILED]

    assert await failures() == []
    await StartRecorder(cluster, Vllm(), clock).note_end(cluster.workloads()[0])
    assert await failures() == ["cuda_oom"]
    await built.close()
