"""Changes that people ask for, while others change the same workload."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.chat.errors import UserError
from bot.core.chat.message import Message, User
from bot.core.deployment.record import LastUse, SleepReason
from bot.core.deployment.workload import Phase
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import THREAD, Ask, Chat, Clock, PassTime
from tests.fakes.mortal import Killed, Mortal

ADA = User("ada", "ada")


class Overtaken:
    """The cluster, but somebody writes before the next change gets there, and the change is decided anew."""

    def __init__(self, cluster: SimulatedCluster, write: Callable[[], Awaitable[object]]) -> None:
        self._cluster = cluster
        self._write: Callable[[], Awaitable[object]] | None = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def change(self, *arguments: Any, **named: Any) -> None:
        write, self._write = self._write, None
        if write:
            await write()
        await self._cluster.change(*arguments, **named)


async def test_what_others_write_while_a_reply_is_posted_is_kept(
    bot: App, ask: Ask, pass_time: PassTime, cluster: SimulatedCluster, clock: Clock
) -> None:
    await ask("deploy tinyllama")
    await pass_time(200)
    replies = bot.dispatcher.handle(Message("scale tinyllama replicas=2", ADA, THREAD))
    await anext(replies)  # while the chat takes its time
    uses = {"eve": LastUse(who="Eve", at=clock.now())}
    await cluster.update_record("tinyllama", pending_questions={"m7": THREAD}, last_uses=uses)
    with pytest.raises(StopAsyncIteration):
        await replies.asend("m8")
    [workload] = cluster.workloads()
    assert (workload.replicas, workload.record.card_message_id) == (2, "m8")
    assert (workload.record.pending_questions, workload.record.last_uses) == ({"m7": THREAD}, uses)


async def test_who_is_overtaken_decides_anew(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ask: Ask,
    pass_time: PassTime,
) -> None:
    async def question() -> None:
        await cluster.update_record("tinyllama", pending_questions={"m7": THREAD})

    await ask("deploy tinyllama")
    await pass_time(200)
    overtaken: Any = Overtaken(cluster, question)
    lifecycle = wiring.build(settings, overtaken, inference, chat, clock).services.lifecycle
    [seen] = cluster.workloads()
    await lifecycle.change(seen, seen.spec.model_copy(update={"replicas": 2}), ADA, THREAD, "m8")
    [workload] = cluster.workloads()
    assert (workload.replicas, workload.record.pending_questions) == (2, {"m7": THREAD})


async def test_what_others_gave_other_arguments_is_not_changed_back(
    ask: Ask, bot: App, pass_time: PassTime, cluster: SimulatedCluster
) -> None:
    await ask("deploy tinyllama")
    await pass_time(200)
    [seen] = cluster.workloads()
    await ask("scale tinyllama replicas=3")
    with pytest.raises(UserError) as changed:
        await bot.services.lifecycle.change(seen, seen.spec, ADA, THREAD, "m8")
    assert changed.value.text.key == "error.changed"
    assert [workload.spec.replicas for workload in cluster.workloads()] == [3]


async def test_a_wake_that_comes_second_changes_nothing(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ask: Ask,
    pass_time: PassTime,
) -> None:
    async def wake() -> None:
        await ask("wake tinyllama")

    await ask("deploy tinyllama")
    await pass_time(200)
    await ask("sleep tinyllama")
    overtaken: Any = Overtaken(cluster, wake)
    lifecycle = wiring.build(settings, overtaken, inference, chat, clock).services.lifecycle
    await lifecycle.wake("tinyllama", ADA, THREAD, "mine")
    [workload] = cluster.workloads()
    assert workload.replicas == 1 and workload.record.card_message_id != "mine"


async def test_killed_in_the_middle_it_is_known_who_put_it_to_sleep(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
    ask: Ask,
    pass_time: PassTime,
) -> None:
    await ask("deploy tinyllama")
    await pass_time(200)
    [awake] = cluster.workloads()
    mortal: Any = Mortal(cluster, ("scale", "update_record"), [0], 1, before=False)
    lifecycle = wiring.build(settings, mortal, inference, chat, clock).services.lifecycle
    with pytest.raises(Killed):
        await lifecycle.sleep(awake, ADA)
    [workload] = cluster.workloads()
    state = workload.record.sleep_state
    assert (
        workload.phase is Phase.ASLEEP and state and (state.reason, state.by) == (SleepReason.PERSON, "ada")
    )
    assert workload.record.last_nodes == awake.nodes != ()


async def test_a_use_that_another_has_just_written_down_is_kept(
    ask: Ask, bot: App, pass_time: PassTime, cluster: SimulatedCluster, clock: Clock
) -> None:
    await ask("deploy tinyllama")
    await pass_time(200)
    [seen] = cluster.workloads()
    await cluster.update_record("tinyllama", last_uses=seen.record.with_use(User("eve", "Eve"), clock.now()))
    clock.advance(minutes=1)
    await bot.services.activity.record_use(seen, ADA)
    [workload] = cluster.workloads()
    uses = workload.record.last_uses
    assert uses["ada"].at - uses["eve"].at == timedelta(minutes=1)


async def test_other_arguments_begin_anew_with_what_starts_teach(
    ask: Ask, pass_time: PassTime, cluster: SimulatedCluster
) -> None:
    def known() -> int:
        return len(cluster.workloads()[0].record.start_times)

    await ask("deploy tinyllama")
    await pass_time(200)
    assert known() == 1
    await ask("scale tinyllama replicas=2")
    assert known() == 1
    await ask("scale tinyllama tp=2")
    assert known() == 0
