"""Waiting for GPUs: places, forecasts, whose turn it is, and who is asked to give some back."""

from collections.abc import Callable
from typing import Any

import pytest

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.deployment.workload import Phase, Workload
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Ask, Chat, Clock, PassTime, Say

BIG = "deploy llama-3-70b quant=gptq tp=4 name={}"


Card = Callable[[str], str]
Phases = Callable[[], dict[str, Phase]]


@pytest.fixture
def card(chat: Chat, say: Say) -> Card:
    """The newest message about a name, with its lines."""

    def card(name: str) -> str:
        shown = [
            h[-1] for h in chat.messages.values() if h[-1].text and say(h[-1].text).startswith(f"{name} ")
        ]
        return "\n".join([say(shown[0].text), *(say(line) for line in shown[0].lines)])

    return card


@pytest.fixture
def phases(cluster: SimulatedCluster) -> Phases:
    return lambda: {workload.name: workload.phase for workload in cluster.workloads()}


async def sweep(bot: App, cluster: SimulatedCluster, clock: Clock, minutes: int) -> None:
    for _ in range(minutes):
        clock.advance(minutes=1)
        cluster.step()
        await bot.sweep()


async def test_who_finds_no_gpus_waits_with_a_place_and_a_time_and_starts_by_itself(
    ask: Ask, pass_time: PassTime, card: Card, phases: Phases, bot: App, say: Say, chat: Chat
) -> None:
    for name in ("m1", "m2"):
        await ask(BIG.format(name), who="grace")
    await pass_time(400)
    await ask(BIG.format("m3"), who="ada")
    await ask(BIG.format("m4"), who="bob")
    await pass_time(2)
    assert phases() == {"m1": Phase.READY, "m2": Phase.READY, "m3": Phase.QUEUED, "m4": Phase.QUEUED}
    assert "m3 is waiting for 4 free GPUs on one node." in card("m3") and "Place 1 of 2, about" in card("m3")
    assert "Place 2 of 2" in card("m4") and "icc-gpu-1: 0 of 4 free, 4 × m1" in card("m4")
    assert "GPUs held: 8" in say((await ask("status"))[0].text)  # not what is waited for
    await ask(BIG.format("m5"), who="bob")
    assert say((await ask("sleep m5", who="bob"))[0].text) == "m5 has left the queue and is asleep."
    assert say((await ask("why m5", who="bob"))[0].lines[0]) == "bob put it to sleep."
    assert say((await ask("stop m5", who="bob"))[0].text) == "m5 is stopped. The model stays in the cache."
    await ask("stop m1", who="grace")
    await pass_time(3)
    assert phases()["m3"] is not Phase.QUEUED and "Place 1 of 1" in card("m4")
    assert any(say(h[-1].text) == "It is m3's turn: it starts now." for h in chat.messages.values())


async def test_within_a_role_who_holds_least_goes_first_and_admins_can_call_it_urgent(
    ask: Ask, pass_time: PassTime, phases: Phases, say: Say
) -> None:
    await ask(BIG.format("g1"), who="grace")
    for name, who in (("g2", "grace"), ("a1", "ada"), ("a2", "ada"), ("b1", "bob")):
        await ask(f"deploy llama-3-8b tp=2 name={name}", who=who)
    assert [name for name, phase in phases().items() if phase is Phase.QUEUED] == ["a2", "b1"]
    await ask("stop g2", who="grace")
    await pass_time(3)
    assert phases()["b1"] is not Phase.QUEUED and phases()["a2"] is Phase.QUEUED
    [refused] = await ask("deploy tinyllama priority=high", who="ada")
    assert "admin" in say(refused.text)
    await ask("deploy llama-3-8b tp=2 name=g3 priority=high", who="grace")
    await ask("stop b1", who="bob")
    await pass_time(3)
    assert phases()["g3"] is not Phase.QUEUED and phases()["a2"] is Phase.QUEUED


async def test_a_small_one_does_not_take_what_a_big_one_waits_for(
    ask: Ask, pass_time: PassTime, phases: Phases
) -> None:
    for n in range(2):
        await ask(f"deploy llama-3-8b tp=2 name=m{n}", who="grace")
    await ask(BIG.format("other"), who="grace")
    await ask(BIG.format("big"), who="ada")
    await pass_time(300)
    assert phases()["big"] is Phase.QUEUED
    await ask("stop m0", who="grace")
    await ask("deploy tinyllama name=small", who="bob")
    await pass_time(60)
    assert phases()["small"] is Phase.QUEUED and phases()["big"] is Phase.QUEUED
    await ask("stop m1", who="grace")
    await pass_time(5)
    assert phases()["big"] is not Phase.QUEUED


async def test_what_wakes_waits_in_line_too_and_can_leave_it(
    ask: Ask, pass_time: PassTime, phases: Phases, cluster: SimulatedCluster
) -> None:
    await ask(BIG.format("m1"), who="ada")
    await pass_time(400)
    await ask("sleep m1", who="ada")
    for name in ("g1", "g2"):
        await ask(BIG.format(name), who="grace")
    await pass_time(5)
    await ask("wake m1", who="ada")
    await pass_time(5)
    assert phases()["m1"] is Phase.QUEUED and cluster.workloads()[0].replicas == 0
    await ask("sleep m1", who="ada")
    await pass_time(5)
    assert phases()["m1"] is Phase.ASLEEP


async def test_when_somebody_waits_the_longest_idle_is_asked_back_after_half_its_window(
    ask: Ask,
    pass_time: PassTime,
    bot: App,
    cluster: SimulatedCluster,
    clock: Clock,
    chat: Chat,
    say: Say,
    phases: Phases,
) -> None:
    await ask(BIG.format("m1"), who="ada")
    await pass_time(400)
    await ask(BIG.format("m2"), who="grace")
    await pass_time(400)
    await ask(BIG.format("m3"), who="bob")
    await sweep(bot, cluster, clock, 16)
    [warning] = [h[0] for h in chat.messages.values() if h[0].text and "has been idle" in say(h[0].text)]
    assert "m1" in say(warning.text)
    assert say(warning.lines[0]) == "bob is waiting for GPUs. Keep this model if you need it."
    await sweep(bot, cluster, clock, 12)
    assert phases()["m1"] is Phase.ASLEEP and phases()["m3"] is not Phase.QUEUED


async def test_a_restart_keeps_the_line(
    ask: Ask,
    pass_time: PassTime,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    phases: Phases,
) -> None:
    for name, who in (("m1", "grace"), ("m2", "grace"), ("m3", "ada")):
        await ask(BIG.format(name), who=who)
    again = wiring.build(settings, cluster, inference, chat, clock)
    position = again.gpu_queue.position(cluster.workloads()[-1])
    assert position and position.place == 1
    await ask("stop m1", who="grace")
    await again.sweep()
    assert phases()["m3"] is not Phase.QUEUED


async def test_gpus_of_a_model_that_is_not_placed_yet_are_not_free(
    ask: Ask, cluster: SimulatedCluster, phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "step", lambda: None)  # a scheduler that takes its time
    for name in ("m1", "m2", "m3"):
        await ask(BIG.format(name), who="grace")
    assert [workload.replicas for workload in cluster.workloads()] == [1, 1, 0]


async def test_who_goes_to_sleep_while_its_turn_comes_stays_asleep(
    settings: Settings,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ask: Ask,
    cluster: SimulatedCluster,
    pass_time: PassTime,
) -> None:
    class Late:
        """A cluster that shows the line as it was before a person left it."""

        def __init__(self) -> None:
            self.seen = {workload.name: workload for workload in cluster.workloads()}

        def __getattr__(self, name: str) -> Any:
            return getattr(cluster, name)

        def workloads(self) -> list[Workload]:
            return list(self.seen.values())

        def find(self, name: str) -> Workload:
            return self.seen[name]

    for number in range(9):  # one more than there are GPUs
        await ask(f"deploy tinyllama name=m{number}", who="grace")
    late: Any = Late()
    await ask("sleep m8", who="grace")
    queue = wiring.build(settings, late, inference, chat, clock).gpu_queue
    await cluster.remove("m0")
    await queue.advance()
    left = cluster.find("m8")
    state = left and left.record.sleep_state
    assert left and left.phase is Phase.ASLEEP and state and state.by == "grace"
