"""The line: fair, live, and honest, whoever frees a GPU and whatever cannot start."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.chat.errors import UserError
from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec
from bot.core.ports import GpuNode
from bot.core.queue.order import QueueEntry
from bot.core.queue.placement import NodeGpus, startable
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import THREAD, Ask, Chat, Clock, PassTime, Say, eventually, settle
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, at_work, real_world

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
RECORD = Record(owner="ada", owner_name="ada", start_requested_at=NOON)
BIG = "deploy llama-3-70b quant=gptq tp=4 name={}"
Phases = Callable[[], dict[str, Phase]]


class Meddled(SimulatedCluster):
    """Somebody does something just before a deployment is started or changed; or takes the right to see nodes
    away."""

    before: Callable[[str], Awaitable[None]] | None = None
    unseen = False

    def nodes(self) -> Sequence[GpuNode]:
        return () if self.unseen else super().nodes()

    async def change(self, spec: Spec, record: Record, *, awake: bool, version: str = "") -> None:
        if self.before:
            await self.before(spec.name)
        await super().change(spec, record, awake=awake, version=version)


class SlowChat(Chat):
    """A chat in which posts may wait for ever, or be refused."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck: asyncio.Event | None = None
        self.refuses = False

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        turn = reply.text is not None and reply.text.key in ("queue.turn", "lease.held_back")
        if turn and self.stuck:
            await self.stuck.wait()
        if turn and self.refuses:
            raise UserError(t("error.api_away"))
        return await super().post(place, reply, locale)


@pytest_asyncio.fixture
async def cluster(clock: Clock) -> Meddled:
    return Meddled(clock)


@pytest.fixture
def chat() -> SlowChat:
    return SlowChat()


@pytest.fixture
def phases(cluster: Meddled) -> Phases:
    return lambda: {workload.name: workload.phase for workload in cluster.workloads()}


def turns(chat: Chat, say: Say) -> list[str]:
    """Whose turn it was said to be, in order."""
    said = [say(h[0].text) for h in chat.messages.values() if h[0].text and h[0].text.key == "queue.turn"]
    return [words.split("'")[0].removeprefix("It is ") for words in said]


async def fill(ask: Ask, pass_time: PassTime, *waiting: str) -> None:
    """Two nodes full of big ones, and some that wait."""
    for name in ("m1", "m2"):
        await ask(BIG.format(name), who="grace")
    await pass_time(2)
    for name in waiting:
        await ask(f"deploy tinyllama name={name}", who="ada" if name < "c" else "bob")
    await pass_time(2)


async def test_kind_14_the_second_is_stopped_while_the_first_starts(
    ask: Ask, pass_time: PassTime, cluster: Meddled, phases: Phases
) -> None:
    await fill(ask, pass_time, "a", "b", "c", "d")

    async def stop_b(name: str) -> None:
        cluster.before = None
        await cluster.remove("c" if name == "a" else "b")

    cluster.before = stop_b
    await cluster.remove("m1")
    await pass_time(3)
    left = phases()
    assert len(left) == 4 and Phase.QUEUED not in left.values()  # m2 and three that wait no longer


async def test_kind_14_a_second_that_goes_to_sleep_meanwhile_stays_asleep(
    ask: Ask, pass_time: PassTime, cluster: Meddled, phases: Phases, chat: Chat, say: Say
) -> None:
    await fill(ask, pass_time, "a", "b")

    async def leave(name: str) -> None:
        cluster.before = None
        other = {"a": "b", "b": "a"}[name]
        await ask(f"sleep {other}", who="ada")

    cluster.before = leave
    await cluster.remove("m1")
    await pass_time(3)
    assert sorted(phases().values()).count(Phase.ASLEEP) == 1 and len(turns(chat, say)) == 1


async def test_kind_15_gpus_that_somebody_else_frees_are_used_without_a_sweep(
    ask: Ask, pass_time: PassTime, cluster: Meddled, phases: Phases
) -> None:
    cluster.cordoned |= {"icc-gpu-1", "icc-gpu-2"}
    await ask("deploy tinyllama name=a")
    await pass_time(3)
    assert phases() == {"a": Phase.QUEUED}
    cluster.cordoned.clear()
    cluster.step()  # the cluster notices, and nothing else happens
    await settle()
    assert phases()["a"] is not Phase.QUEUED


async def test_kind_15_where_no_nodes_are_seen_any_more_those_that_wait_are_left_to_the_scheduler(
    ask: Ask, pass_time: PassTime, cluster: Meddled
) -> None:
    await fill(ask, pass_time, "a")
    assert not all(workload.replicas for workload in cluster.workloads())
    cluster.unseen = True
    await ask("deploy tinyllama name=b")
    await pass_time(3)
    assert len(cluster.workloads()) == 4 and all(workload.replicas for workload in cluster.workloads())


async def test_kind_15_one_that_no_node_can_take_holds_up_nobody_and_is_told_so_once(
    ask: Ask,
    pass_time: PassTime,
    cluster: Meddled,
    phases: Phases,
    chat: Chat,
    say: Say,
    bot: App,
    clock: Clock,
    settings: Settings,
    inference: VllmInference,
) -> None:
    await fill(ask, pass_time)
    await ask(BIG.format("big"), who="ada")
    cluster.capacity = {"icc-gpu-1": 2, "icc-gpu-2": 2}  # GPUs broke
    for name in ("m1", "m2"):
        await ask(f"stop {name} --sure", who="grace")
    await pass_time(2)
    await ask("deploy tinyllama name=small", who="bob")
    await pass_time(2)
    assert phases()["big"] is Phase.QUEUED and phases()["small"] is not Phase.QUEUED
    again = wiring.build(settings, cluster, inference, chat, clock)  # the one before has ended
    for app in (bot, bot, again, bot):
        clock.advance(minutes=6)
        cluster.step()
        await app.sweep()
        await settle()
    await again.close()
    told = [h[0] for h in chat.messages.values() if h[0].text and h[0].text.key == "queue.no_room"]
    assert len(told) == 1 and "no node would have 4 free GPUs" in say(told[0].text)
    assert "fewer GPUs" in say(told[0].lines[0]) and told[0].buttons[0].command == "stop big"
    cluster.capacity = {"icc-gpu-1": 4, "icc-gpu-2": 4}
    await pass_time(3)
    assert phases()["big"] is not Phase.QUEUED


async def test_kind_15_nobody_is_put_to_sleep_for_one_that_no_node_can_take(
    ask: Ask, pass_time: PassTime, cluster: Meddled, bot: App
) -> None:
    await ask("deploy tinyllama name=used", who="grace")
    await pass_time(300)
    cluster.capacity = {"icc-gpu-1": 4, "icc-gpu-2": 2}
    cluster.cordoned |= {"icc-gpu-1"}
    await ask(BIG.format("big"), who="ada")
    for _ in range(20):
        await pass_time(60)
        await bot.services.activity.sweep()
    assert bot.gpu_queue.model_to_reclaim() == ("", "")
    cluster.cordoned.clear()
    assert bot.gpu_queue.model_to_reclaim() == ("used", "ada")


async def test_kind_15_a_slow_chat_holds_up_nobodys_turn_and_each_is_told_once(
    ask: Ask, pass_time: PassTime, cluster: Meddled, phases: Phases, chat: SlowChat, say: Say
) -> None:
    await fill(ask, pass_time, "a", "b", "c")
    chat.stuck = asyncio.Event()
    await cluster.remove("m1")
    await pass_time(5)
    assert Phase.QUEUED not in phases().values() and turns(chat, say) == []
    chat.stuck.set()
    await pass_time(5)
    assert sorted(turns(chat, say)) == ["a", "b", "c"]
    chat.refuses = True
    await ask(BIG.format("d"), who="grace")
    await ask(BIG.format("e"), who="grace")
    await cluster.remove("m2")
    await pass_time(5)
    assert sorted(turns(chat, say)) == [
        "a",
        "b",
        "c",
    ]  # that it could not be said is no reason to start twice
    chat.refuses = False
    await pass_time(60)
    assert sorted(turns(chat, say)) == ["a", "b", "c"]


async def test_kind_15_a_slow_chat_holds_up_nobody_when_one_may_not_start(
    ask: Ask, pass_time: PassTime, cluster: Meddled, phases: Phases, chat: SlowChat, clock: Clock
) -> None:
    await fill(ask, pass_time, "a", "b")
    chat.stuck = asyncio.Event()
    await cluster.update_record("a", lease_ends_at=clock.now())  # before a sweep sees that
    await pass_time(5)
    await cluster.remove("m1")
    await pass_time(5)
    assert phases()["a"] is Phase.QUEUED and phases()["b"] is not Phase.QUEUED
    chat.stuck.set()
    await pass_time(5)
    told = [h[0] for h in chat.messages.values() if h[0].text and h[0].text.key == "lease.held_back"]
    assert len(told) == 1


async def test_kind_15_nobody_is_put_to_sleep_for_one_that_may_not_start(
    ask: Ask, pass_time: PassTime, cluster: Meddled, bot: App, clock: Clock
) -> None:
    for name in ("m1", "m2"):
        await ask(BIG.format(name), who="grace")
    await pass_time(400)
    await ask(BIG.format("big"), who="ada")
    for _ in range(20):
        await pass_time(60)
        await bot.services.activity.sweep()
    assert bot.gpu_queue.model_to_reclaim() == ("m1", "ada")
    await cluster.update_record("big", lease_ends_at=clock.now())  # before a sweep sees that
    assert bot.gpu_queue.model_to_reclaim() == ("", "")


async def test_kind_15_what_is_said_of_the_wait_is_never_over_and_changes_only_when_it_matters(
    ask: Ask, pass_time: PassTime, cluster: Meddled, bot: App, chat: Chat, clock: Clock
) -> None:
    for name in ("m1", "m2"):
        await ask(BIG.format(name) + " ttl=1h", who="grace")
    await pass_time(400)
    await ask(BIG.format("big"), who="ada")
    await pass_time(2)
    told = [h for h in chat.messages.values() if h[-1].text]
    [card] = [h for h in told if h[-1].text and h[-1].text.key.startswith("card.turn")]
    shown = len(card)
    ends = cluster.workloads()[0].record.lease_ends_at
    assert ends is not None
    while clock.now() < ends + timedelta(minutes=20):  # nobody acts on the lease
        clock.advance(minutes=1)
        await bot.services.activity.sweep()
        cluster.step()
        await cluster.update_record("m1", warned_at=clock.now())  # something changes all the time
        await settle()
        position = bot.gpu_queue.position(cluster.workloads()[-1])
        assert position and (position.at is None or position.at > clock.now())
    assert len(card) - shown <= 2


async def test_what_has_no_node_yet_is_not_said_to_hold_gpus(
    ask: Ask, pass_time: PassTime, cluster: Meddled, say: Say
) -> None:
    await ask("deploy tinyllama name=a", who="grace")
    await pass_time(2)
    cluster.cordoned |= {"icc-gpu-1", "icc-gpu-2"}
    await cluster.scale("a", 3)
    cluster.step()
    [status] = await ask("status")
    assert "GPUs held: 1" in say(status.text)
    cluster.cordoned.clear()
    await pass_time(2)
    [status] = await ask("status")
    assert "GPUs held: 3" in say(status.text)


class Real:
    """The bot at work on a real API server whose eight GPUs others hold; no sweep comes within a test."""

    def __init__(self, world: RealWorld, bot: App) -> None:
        self.world, self.bot, self.cluster = world, bot, world.cluster

    async def kubectl(self, *words: str, stdin: str = "") -> None:
        await asyncio.to_thread(self.world.plane.kubectl, *words, stdin=stdin)

    async def hold(self) -> None:
        for number in (1, 2):
            await self.kubectl("apply", "-f", "-", stdin=HOLDER.format(number=number))
        await eventually(lambda: self.free() == 0)

    async def end(self, number: int) -> None:
        gone = "--ignore-not-found", "--force", "--grace-period=0"
        await self.kubectl("delete", "pod", f"job-{number}", "-n", "default", *gone)

    async def deploy(self, name: str) -> None:
        line = f"deploy llama-3-70b quant=gptq tp=4 name={name}"
        async for _ in self.bot.dispatcher.handle(Message(line, User("grace", "grace", "en"), THREAD)):
            pass

    def free(self) -> int:
        return sum(node.free for node in self.cluster.nodes())

    def started(self, name: str) -> bool:
        found = self.cluster.find(name)
        return found is not None and found.replicas == 1

    async def starts_once(self, name: str, free: Callable[[], Awaitable[object]]) -> None:
        """One that waits starts when GPUs are freed; how soon is shown with `pytest -rP`."""
        assert not self.started(name)
        began = time.monotonic()
        await free()
        await eventually(lambda: self.started(name))
        print(f"{name} was started {time.monotonic() - began:.2f} s after its GPUs were freed")


HOLDER = """
apiVersion: v1
kind: Pod
metadata: {{name: job-{number}, namespace: default}}
spec:
  nodeName: icc-gpu-{number}
  tolerations: [{{operator: Exists}}]
  containers:
    - name: job
      image: job
      resources: {{limits: {{nvidia.com/gpu: "4"}}}}
"""
"""A pod of somebody else with all GPUs of a node."""


@pytest_asyncio.fixture
async def real(
    control_plane: ControlPlane, tmp_path: Path, settings: Settings, chat: SlowChat
) -> AsyncIterator[Real]:
    hourly = {"sweep_interval": timedelta(hours=1), "idle_window": timedelta(hours=9)}
    async with real_world(control_plane, tmp_path) as world:
        here = settings.model_copy(update={"namespace": world.namespace} | hourly)
        async with at_work(here, world.cluster, chat) as bot:
            at_hand = Real(world, bot)
            await at_hand.hold()
            try:
                yield at_hand
            finally:
                for number in (1, 2):
                    await at_hand.end(number)
                await at_hand.kubectl("uncordon", "icc-gpu-2")


async def test_kind_15_when_a_pod_of_somebody_else_goes_the_next_starts_at_once(real: Real) -> None:
    await real.deploy("a")
    await real.starts_once("a", lambda: real.end(1))


async def test_kind_15_when_a_node_takes_pods_again_the_next_starts_at_once(real: Real) -> None:
    await real.deploy("a")
    await real.kubectl("cordon", "icc-gpu-2")
    await real.end(2)
    await eventually(lambda: not any("default/job-2" in node.used for node in real.cluster.nodes()))
    await real.starts_once("a", lambda: real.kubectl("uncordon", "icc-gpu-2"))


async def test_kind_15_when_a_pod_ends_long_after_stop_the_next_starts_then_and_not_before(
    real: Real,
) -> None:
    await real.end(1)
    await eventually(lambda: real.free() == 4)
    await real.deploy("a")
    await eventually(lambda: (found := real.cluster.find("a")) and found.phase is Phase.READY)
    await real.deploy("b")
    real.world.kubelet.behave["llm-a"] = "linger"
    await real.cluster.remove("a")
    await eventually(lambda: real.cluster.find("a") is None)
    assert real.free() == 0

    async def let_go() -> None:
        real.world.kubelet.behave.clear()

    await real.starts_once("b", let_go)


async def test_kind_15_the_real_scheduler_leaves_none_pending_of_those_that_were_started(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """Whole queues, on nodes that are partly full: all that start find a node."""
    dice = random.Random(5)
    async with real_world(control_plane, tmp_path) as world:
        cluster = world.cluster

        def used() -> int:
            return sum(node.total - node.free for node in cluster.nodes())

        def placed() -> bool:
            found = cluster.workloads()
            return all(w.placed_replicas for w in found) and sum(w.gpus_on_nodes for w in found) == used()

        for number in range(6):
            line = [QueueEntry(f"r{number}-{n}", dice.choice([1, 2, 4]), NOON) for n in range(6)]
            nodes = [NodeGpus(node.free, node.within_reach) for node in cluster.nodes()]
            names = startable(nodes, (), line, NOON)
            await asyncio.gather(*(cluster.create(spec(e), RECORD) for e in line if e.name in names))
            await eventually(placed)
            for gone in dice.sample(list(cluster.workloads()), len(cluster.workloads()) // 2):
                await cluster.remove(gone.name)
            await eventually(placed)


def spec(entry: QueueEntry) -> Spec:
    repo, tp = "TinyLlama/TinyLlama-1.1B-Chat-v1.0", entry.tp
    return Spec(name=entry.name, model="tinyllama", repo=repo, max_model_len=2048, tensor_parallel_size=tp)
