"""Quotas, leases and ownership hold whatever the road: kinds 4, 6 and 7 of what once broke them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from bot.app import wiring
from bot.app.application import App
from bot.app.clock import SystemClock
from bot.app.engines import ENGINE
from bot.app.settings import Settings
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.manifests import WorkloadSettings
from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply
from bot.core.chat.text import Text
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle.verdict import LONGEST_WINDOW
from bot.simulator.cluster import SimulatedCluster
from bot.simulator.timeline import FAILURES
from tests.conftest import THREAD, Ask, Chat, Clock, PassTime, Say, eventually
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, real_world

FRIENDS = Place("test", "C2", "2.0")
"""Where somebody else talks to the bot."""
TRIES = 10
"""How often two ask at once: before, each time both got what there was for one."""

Later = Callable[[float], Awaitable[None]]
Find = Callable[[str], Workload]


@pytest.fixture
def later(bot: App, clock: Clock, cluster: SimulatedCluster) -> Later:
    """Let minutes pass, with a sweep in each."""

    async def later(minutes: float) -> None:
        for _ in range(int(minutes)):
            clock.advance(minutes=1)
            cluster.step()
            await bot.sweep()

    return later


@pytest.fixture
def find(cluster: SimulatedCluster) -> Find:
    def find(name: str) -> Workload:
        found = cluster.find(name)
        assert found
        return found

    return find


def told(chat: Chat, say: Say, start: str) -> list[str]:
    """The messages that begin like this, with their lines, as they look now."""
    shown = [history[-1] for history in chat.messages.values()]
    texts = ["\n".join(say(text) for text in (r.text, *r.lines)) for r in shown if r.text]
    return [text for text in texts if text.startswith(start)]


async def test_kind_04_a_window_that_is_doubled_for_ever_has_a_ceiling(
    ask: Ask, pass_time: PassTime, bot: App, find: Find, say: Say
) -> None:
    [refused] = await ask("deploy tinyllama idle=365d", who="eve")
    assert "from 10m to 7d" in say(refused.text)
    await ask("deploy tinyllama", who="eve")
    await pass_time(200)
    for _ in range(20):
        await ask("sleep tinyllama", who="eve")
        replies = await ask("undo tinyllama", who="eve")
    assert find("tinyllama").record.idle_window == LONGEST_WINDOW
    assert say(replies[0].lines[-1]) == "from now on it may be idle for 7 d before it sleeps"
    await pass_time(200)
    await bot.sweep()
    assert bot.services.activity.verdict(find("tinyllama")).due < bot.services.clock.now() + timedelta(days=8)


async def test_kind_04_a_window_that_is_stored_already_is_cut_too(
    ask: Ask, pass_time: PassTime, bot: App, find: Find, cluster: SimulatedCluster
) -> None:
    await ask("deploy tinyllama", who="eve")
    await cluster.update_record("tinyllama", idle_window=timedelta(days=3650))
    assert bot.services.activity.policy.window_of(find("tinyllama")) == LONGEST_WINDOW


async def test_kind_04_an_undo_that_is_refused_changes_no_window(ask: Ask, find: Find) -> None:
    await ask("deploy tinyllama name=m1", who="eve")
    await ask("sleep m1", who="eve")
    await ask("deploy llama-3-8b tp=2", who="eve")
    replies = await ask("undo m1", who="eve")
    assert replies[-1].text and replies[-1].text.key == "quota.gpus_beside"
    assert find("m1").record.idle_window is None


async def test_kind_06_office_hours_do_not_renew_a_lease(
    ask: Ask, later: Later, find: Find, chat: Chat, say: Say
) -> None:
    await ask('deploy tinyllama name=always ttl=1h hours="mo-su 0-24"', who="eve")
    await ask('deploy tinyllama name=days ttl=1h hours="mo-su 8-20"', who="eve")
    await later(26 * 60)
    assert find("always").gpus_held == find("days").gpus_held == 0
    [message] = told(chat, say, "days does not start by itself.")
    assert message.endswith("The lease of days has ended. eve or an admin can renew it: /llm wake days")
    await ask("wake days", who="eve")
    lease = find("days").record.lease_ends_at
    assert lease == find("days").record.start_requested_at + timedelta(hours=12)


async def test_kind_06_a_lease_that_passes_in_sleep_is_over_too(
    ask: Ask, pass_time: PassTime, later: Later, find: Find, say: Say
) -> None:
    await ask('deploy tinyllama ttl=1h hours="mo-su 0-24"', who="eve")
    await pass_time(200)
    await ask("sleep tinyllama", who="eve")
    await later(70)
    assert find("tinyllama").gpus_held == 0
    for line in ("wake tinyllama", "ask tinyllama hello"):
        replies = await ask(line, who="bob")
        assert say(replies[-1].text).startswith("The lease of tinyllama has ended. eve or an admin can renew")
    await ask("scale tinyllama max-len=1k", who="eve")
    assert find("tinyllama").gpus_held == 0  # a new size is no new lease
    [status] = await ask("status tinyllama", who="bob")
    assert say(status.fields[-1][1]).endswith("over")
    [why] = await ask("why tinyllama", who="bob")
    assert say(why.lines[-1]) == "eve or an admin can start it again: /llm wake tinyllama"


async def test_kind_06_a_lease_that_ends_in_the_queue_starts_nothing(
    ask: Ask, pass_time: PassTime, later: Later, find: Find, chat: Chat, say: Say
) -> None:
    for name in ("g1", "g2"):
        await ask(f"deploy llama-3-70b quant=gptq tp=4 name={name}", who="grace")
    await ask("deploy tinyllama ttl=1h", who="eve")
    await pass_time(400)
    for name in ("g1", "g2"):
        await ask(f"keep {name} 4h", who="grace")
    assert find("tinyllama").phase is Phase.QUEUED
    await later(61)
    assert find("tinyllama").phase is Phase.ASLEEP
    assert told(chat, say, "tinyllama sleeps and gives its GPU back. Its lease has ended.")
    await ask("stop g1 --sure", who="grace")
    await later(3)
    assert find("tinyllama").gpus_held == 0


async def test_kind_06_one_that_may_not_start_holds_up_nobody_in_the_queue(
    ask: Ask, pass_time: PassTime, find: Find, chat: Chat, say: Say, clock: Clock, cluster: SimulatedCluster
) -> None:
    for name in ("g1", "g2"):
        await ask(f"deploy llama-3-70b quant=gptq tp=4 name={name}", who="grace")
    await ask("deploy llama-3-8b name=first", who="ada")
    await ask("deploy tinyllama name=second", who="eve")
    await cluster.update_record("first", lease_ends_at=clock.now())  # before a sweep sees that
    await pass_time(5)
    await ask("stop g1 --sure", who="grace")
    await pass_time(5)
    assert find("first").phase is Phase.QUEUED and find("second").phase is not Phase.QUEUED
    assert len(told(chat, say, "first does not start by itself.")) == 1
    await ask("keep first 1h", who="ada")
    await pass_time(5)
    assert find("first").phase is not Phase.QUEUED


async def test_kind_06_office_hours_keep_to_the_quota_and_say_so_once(
    ask: Ask, pass_time: PassTime, later: Later, find: Find, chat: Chat, say: Say
) -> None:
    await ask('deploy llama-3-8b name=early hours="mo-su 14-18"', who="eve")  # it is 13 o'clock
    await pass_time(400)
    await later(40)
    assert find("early").phase is Phase.ASLEEP
    await ask("deploy tinyllama", who="eve")
    await later(20)
    assert find("early").phase is Phase.ASLEEP
    [message] = told(chat, say, "early does not start by itself.")
    assert message.splitlines()[1:] == [
        "Too many GPUs: the student limit is 2, and this would make 3: 2 here, 1 in your other deployments.",
        "Put another one to sleep or stop it first: /llm status",
    ]
    await ask("stop tinyllama", who="eve")
    await later(2)
    assert find("early").gpus_held == 2


async def test_kind_06_who_wakes_uses_the_quota_of_the_owner(
    ask: Ask, pass_time: PassTime, find: Find, say: Say
) -> None:
    await ask("deploy llama-3-8b name=big", who="eve")
    await ask("sleep big", who="eve")
    await ask("deploy tinyllama name=small", who="eve")
    for who in ("bob", "grace"):  # one of them is an admin
        for line in ("wake big", "ask big hello"):
            replies = await ask(line, who=who)
            assert say(replies[-1].text) == (
                "Too many GPUs for eve: the student limit is 2, and this would make 3: "
                "2 here, 1 in other deployments of eve."
            )
            assert "eve puts another one to sleep" in say(replies[-1].lines[0])
    replies = await ask("scale small replicas=3", who="grace")
    assert find("small").spec.replicas == 1 and find("big").gpus_held == 0
    assert say(replies[-1].lines[0]) == "Who may hold more: ada, bob, grace"


async def test_kind_06_an_admin_renews_within_the_quota_of_the_owner(
    ask: Ask, later: Later, find: Find, clock: Clock, say: Say
) -> None:
    await ask("deploy tinyllama ttl=1h", who="eve")
    await later(62)
    await ask("wake tinyllama", who="grace")
    assert find("tinyllama").record.lease_ends_at == clock.now() + timedelta(hours=12)
    [refused] = await ask("keep tinyllama 2d", who="grace")
    assert say(refused.text) == "2 d is too long: the student limit is 12 h at a time."


async def test_kind_06_what_a_scale_finds_asleep_goes_on_to_sleep(
    ask: Ask, bot: App, pass_time: PassTime, clock: Clock, find: Find, cluster: SimulatedCluster
) -> None:
    await ask("deploy tinyllama ttl=1h", who="eve")
    await pass_time(200)
    replies = bot.dispatcher.handle(Message("scale tinyllama replicas=2", User("eve", "eve"), THREAD))
    await anext(replies)  # while the chat takes its time, the lease ends
    clock.advance(hours=1)
    await bot.sweep()
    with pytest.raises(StopAsyncIteration):
        await replies.asend("m9")
    assert find("tinyllama").spec.replicas == 2 and find("tinyllama").gpus_held == 0


async def test_kind_07_who_wakes_a_model_does_not_get_its_news(
    ask: Ask, pass_time: PassTime, find: Find, chat: Chat, cluster: SimulatedCluster, later: Later, say: Say
) -> None:
    await ask("deploy tinyllama", who="eve", locale="de")
    await pass_time(200)
    for who, line in (("bob", "wake tinyllama"), ("grace", "undo tinyllama"), ("bob", "ask tinyllama hi")):
        await ask("sleep tinyllama", who="eve")
        before = find("tinyllama").record
        asking = asyncio.create_task(ask(line, who=who, place=FRIENDS))
        await pass_time(200)
        await eventually(asking.done)
        after = find("tinyllama").record
        assert find("tinyllama").phase is Phase.READY
        kept = (before.owner, before.card_place, before.card_message_id, before.locale)
        assert kept == (after.owner, after.card_place, after.card_message_id, after.locale)
    await ask("scale tinyllama replicas=2", who="grace", place=FRIENDS)
    assert find("tinyllama").record.card_place == THREAD
    await pass_time(200)
    cluster.fail("tinyllama", "cuda_oom")
    await later(40)
    [log] = [h[-1] for h in chat.messages.values() if h[-1].log]
    assert log.log.endswith(FAILURES["cuda_oom"]) and find("tinyllama").record.owner == "eve"
    await ask("wake tinyllama", who="eve", place=FRIENDS)
    assert find("tinyllama").record.card_place == FRIENDS  # the owner may move it


async def test_kind_07_who_woke_another_model_hears_what_comes_of_it(
    ask: Ask, pass_time: PassTime, say: Say
) -> None:
    await ask("deploy tinyllama", who="eve")
    await pass_time(200)
    await ask("sleep tinyllama", who="eve")
    first, last = await ask("wake tinyllama", who="bob")
    assert not first.live and not first.buttons
    assert say(last.text) == (
        "tinyllama starts. eve hears how it goes on; you can see it here: /llm status tinyllama"
    )


@pytest.mark.parametrize("line", ["status tinyllama", "why tinyllama"])
async def test_kind_07_a_log_is_seen_by_its_owner_and_admins_alone(
    ask: Ask, pass_time: PassTime, cluster: SimulatedCluster, line: str
) -> None:
    await ask("deploy tinyllama", who="eve")
    await pass_time(200)
    cluster.fail("tinyllama", "cuda_oom")
    await pass_time(10)

    async def shown(who: str) -> bool:
        return FAILURES["cuda_oom"][-30:] in repr(await ask(line, who=who, place=FRIENDS))

    assert [await shown(who) for who in ("bob", "eve", "grace")] == [False, True, True]


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path) as world:
        yield world


class Process:
    """A process of the bot, with its own view of the cluster."""

    def __init__(self, cluster: KubernetesCluster) -> None:
        settings = Settings(
            _env_file=None, namespace=cluster.namespace, admins=frozenset({"grace"}), database_url="sqlite://"
        )
        self.cluster = cluster
        self._inference = wiring.inference_of(settings)
        self._bot = wiring.build(settings, cluster, self._inference, Chat(), SystemClock())

    async def type(self, line: str, who: str = "eve") -> Reply:
        """The last reply."""
        replies = [r async for r in self._bot.dispatcher.handle(Message(line, User(who, who), THREAD))]
        return replies[-1]

    async def close(self) -> None:
        await self._bot.close()
        await self._inference.close()


@pytest_asyncio.fixture
async def one(world: RealWorld) -> AsyncIterator[Process]:
    process = Process(world.cluster)
    yield process
    await process.close()


@pytest_asyncio.fixture
async def guest(world: RealWorld) -> AsyncIterator[Process]:
    """Another process, as a terminal beside the bot is."""
    chosen = WorkloadSettings(namespace=world.namespace)
    async with KubernetesCluster(str(world.kubeconfig), chosen, "http://127.0.0.1:9", ENGINE) as cluster:
        process = Process(cluster)
        yield process
        await process.close()


def held(world: RealWorld) -> int:
    """GPUs that the API server has written down for everybody."""
    found = json.loads(world.plane.kubectl("get", "deployments", "-n", world.namespace, "-o", "json"))
    return sum(
        d["spec"]["replicas"] * int(c["resources"]["limits"].get("nvidia.com/gpu", 0))
        for d in found["items"]
        for c in d["spec"]["template"]["spec"]["containers"]
    )


async def asleep(process: Process, *names: str) -> None:
    """Put them to sleep, and wait until that is seen."""

    def phases() -> set[Phase | None]:
        return {_phase(process, name) for name in names}

    await eventually(lambda: not phases() & {Phase.DRAINING, None})
    for name in names:
        if _phase(process, name) is not Phase.ASLEEP:
            await process.type(f"sleep {name}")
    await eventually(lambda: phases() == {Phase.ASLEEP})


async def test_kind_06_two_wakes_at_once_do_not_both_get_the_last_of_a_quota(
    world: RealWorld, one: Process
) -> None:
    await one.type("deploy llama-3-8b name=b tp=2")
    await asleep(one, "b")
    await one.type("deploy tinyllama name=a")
    for _ in range(TRIES):
        await asleep(one, "a", "b")
        await asyncio.gather(one.type("wake a"), one.type("wake b"))
        assert 1 <= held(world) <= 2


async def test_kind_06_a_scale_and_a_wake_at_once_do_not_both_get_it(world: RealWorld, one: Process) -> None:
    for name in ("a", "b"):
        await one.type(f"deploy tinyllama name={name}")
    for _ in range(TRIES):
        await asleep(one, "b")
        await one.type("scale a replicas=1")
        await asyncio.gather(one.type("scale a replicas=2"), one.type("wake b"))
        assert held(world) == 2


async def test_kind_06_two_processes_do_not_both_get_it_either(
    world: RealWorld, one: Process, guest: Process
) -> None:
    await one.type("deploy llama-3-8b name=b tp=2")
    await asleep(one, "b")
    await one.type("deploy tinyllama name=a")
    for _ in range(TRIES):
        await asleep(one, "a", "b")
        await asleep(guest, "a", "b")
        replies = await asyncio.gather(one.type("wake a"), guest.type("wake b"))
        refused = [r for r in replies if r.text and r.text.key == "quota.gpus_beside"]
        assert refused and held(world) <= 2


async def test_one_whose_pod_is_still_ending_sleeps_all_the_same(world: RealWorld, one: Process) -> None:
    """Before, `sleep` said that it had left a queue, `keep` that it is kept awake, `scale` that it reloads,
    and `wake`, which `sleep` offers at once, was refused until the last pod had gone."""
    await one.type("deploy llama-3-8b name=b tp=2")
    await eventually(lambda: _phase(one, "b") is Phase.READY)
    world.kubelet.behave["llm-b"] = "linger"
    try:
        await one.type("sleep b")
        await eventually(lambda: _phase(one, "b") is Phase.DRAINING)
        told = [(await one.type(line)).text for line in ("sleep b", "keep b 1h")]
        assert [getattr(text, "key", text) for text in told] == ["sleep.already", "keep.asleep"]
        scaled = await one.type("scale b max-len=4k")
        assert [line.key for line in scaled.lines if isinstance(line, Text)] == ["scale.asleep"]
        assert [button.command for button in (await one.type("status b")).buttons] == ["wake b", "stop b"]
        assert held(world) == 0
        await one.type("wake b")
        assert held(world) == 2
    finally:
        world.kubelet.behave.clear()
    await eventually(lambda: _phase(one, "b") is Phase.READY)


def _phase(process: Process, name: str) -> Phase | None:
    found = process.cluster.find(name)
    return found.phase if found else None
