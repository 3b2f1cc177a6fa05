"""One suite for every Cluster: the simulator is held to what the real API server does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.core.chat.errors import Changed, NameTaken, UserError
from bot.core.chat.message import Place
from bot.core.deployment.record import LastUse, Record, SleepReason, SleepState
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.ports import Cluster
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock, eventually, settle
from tests.real.world import real_world
from tests.records import ALL_SPEC, CHANGED, EMPTY, FULL, OTHER_SPEC, PLAIN

STARTED = datetime(2030, 1, 1, 12, tzinfo=UTC)
WINDOW = timedelta(minutes=30)
Write = Callable[[Cluster, Spec, Record, Any], Awaitable[None]]
"""Changes a record that is so, of a workload with this spec."""


class World:
    """A cluster, and waiting in it: simulated time passes, real time is waited for."""

    def __init__(
        self, cluster: Cluster, now: Callable[[], datetime], step: Callable[[], None] | None = None
    ) -> None:
        self.cluster = cluster
        self.now = now
        self._step = step

    async def until(self, true: Callable[[], object]) -> None:
        if self._step is None:
            await eventually(true)
            return
        for _ in range(1000):
            if true():
                return
            self._step()
            await settle()
        raise AssertionError("it did not come true in simulated time")

    def find(self, name: str) -> Workload:
        return next(w for w in self.cluster.workloads() if w.name == name)

    def changed(self, version: str) -> bool:
        """It is no longer as it was at that version."""
        return self.find("llama-3-8b").version != version

    async def phase(self, name: str, phase: Phase) -> Workload:
        await self.until(lambda: self.find(name).phase is phase)
        return self.find(name)


@pytest_asyncio.fixture(params=["simulator", "kubernetes"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "simulator":
        clock = Clock()
        simulated = SimulatedCluster(clock)

        def step() -> None:
            clock.advance(seconds=1)
            simulated.step()

        yield World(simulated, clock.now, step)
    else:
        async with real_world(request.getfixturevalue("control_plane"), tmp_path) as real:
            yield World(real.cluster, partial(datetime.now, UTC))


def spec(name: str = "llama-3-8b", tp: int = 2, **more: Any) -> Spec:
    values = {
        "model": "llama-3-8b",
        "repo": "meta-llama/Meta-Llama-3-8B-Instruct",
        "max_model_len": 8192,
        "kv_cache_tokens": 91841,
        "weights_gib": 15.0,
        "tensor_parallel_size": tp,
    }
    return Spec(name=name, **(values | more))


def record(**more: Any) -> Record:
    values = {
        "owner": "ada",
        "owner_name": "Ada “L.”",
        "card_place": Place("slack", "C1", "1.0"),
        "card_message_id": "m1",
        "start_requested_at": STARTED,
    }
    return Record(**(values | more))


async def test_a_workload_is_scheduled_and_gets_ready(world: World) -> None:
    await world.cluster.create(spec(), record())
    ready = await world.phase("llama-3-8b", Phase.READY)
    assert ready.spec == spec() and ready.record == record()
    assert ready.ready_replicas == 1 and len(ready.nodes) == 1
    assert ready.since.tzinfo is not None

    await world.until(lambda: sum(node.free for node in world.cluster.nodes()) == 6)
    [used] = [node.used for node in world.cluster.nodes() if node.used]
    assert used == {"llama-3-8b": 2}


async def test_names_with_dots_and_everything_a_record_holds(world: World) -> None:
    used = {
        "U1": LastUse(who="bob", at=STARTED),
        "U2": LastUse(who="eve", at=STARTED - timedelta(hours=1)),
    }
    why = SleepState(reason=SleepReason.IDLE, last_activity=STARTED, seen=WINDOW, window=WINDOW)
    ends = STARTED + timedelta(hours=4)
    known = record(lease_ends_at=ends, last_uses=used, announced_news="ready:x", sleep_state=why)
    await world.cluster.create(spec("qwen2.5-7b", 1), known)
    assert world.find("qwen2.5-7b").record == known
    assert world.cluster.address("qwen2.5-7b").startswith("http://llm-qwen2-5-7b.")


async def test_a_name_is_given_once(world: World) -> None:
    results = await asyncio.gather(
        *(world.cluster.create(spec(), record(announced_news=str(n))) for n in range(4)),
        return_exceptions=True,
    )
    assert [type(result) for result in results if result is not None] == [NameTaken] * 3
    winner = next(n for n, result in enumerate(results) if result is None)
    assert world.find("llama-3-8b").record.announced_news == str(winner)


async def test_asleep_and_awake(world: World) -> None:
    await world.cluster.create(spec(), record())
    await world.phase("llama-3-8b", Phase.READY)
    await world.cluster.scale("llama-3-8b", 0)
    asleep = await world.phase("llama-3-8b", Phase.ASLEEP)
    assert asleep.spec.replicas == 1 and asleep.gpus_held == 0
    await world.until(lambda: sum(node.free for node in world.cluster.nodes()) == 8)
    await world.cluster.scale("llama-3-8b", 1)
    await world.phase("llama-3-8b", Phase.READY)


async def test_since_when_it_sleeps_is_known_from_its_record_alone(world: World) -> None:
    begun = world.now()
    await world.cluster.create(spec(), record(start_requested_at=begun))
    ready = await world.phase("llama-3-8b", Phase.READY)
    await world.until(lambda: world.now() - ready.since > timedelta(seconds=5))
    await world.cluster.scale("llama-3-8b", 0)
    asleep = await world.phase("llama-3-8b", Phase.ASLEEP)
    assert asleep.since - ready.since <= timedelta(seconds=2)  # the cluster does not tell
    slept_at = world.now()
    state = SleepState(reason=SleepReason.IDLE, slept_at=slept_at)
    await world.cluster.update_record("llama-3-8b", sleep_state=state)
    assert world.find("llama-3-8b").since == slept_at
    await world.cluster.scale("llama-3-8b", 1)
    again = await world.phase("llama-3-8b", Phase.READY)
    await world.cluster.scale("llama-3-8b", 0)
    asleep = await world.phase("llama-3-8b", Phase.ASLEEP)
    assert asleep.since >= again.since - timedelta(seconds=2)  # what was written down is of the time before


async def test_a_decision_made_on_an_old_view_is_not_carried_out(world: World) -> None:
    await world.cluster.create(spec(), record())
    seen = await world.phase("llama-3-8b", Phase.READY)
    await world.cluster.update_record("llama-3-8b", announced_news="somebody came first")
    with pytest.raises(Changed):
        await world.cluster.scale("llama-3-8b", 0, version=seen.version)
    assert world.find("llama-3-8b").replicas == 1

    for _ in range(10):  # controllers write, too: then decide again on what is so now
        version = world.find("llama-3-8b").version
        try:
            await world.cluster.scale("llama-3-8b", 0, version=version)
            break
        except Changed:
            await world.until(partial(world.changed, version))
    await world.phase("llama-3-8b", Phase.ASLEEP)


async def test_whatever_is_decided_on_an_old_view_is_refused_and_nothing_is_lost(world: World) -> None:
    await world.cluster.create(spec(), record())
    old = await world.phase("llama-3-8b", Phase.READY)
    asked = {"m7": Place("slack", "C1")}
    await world.cluster.update_record("llama-3-8b", pending_questions=asked)
    for decided in (
        world.cluster.change(spec(replicas=2), old.record, awake=True, version=old.version),
        world.cluster.scale("llama-3-8b", 0, old.version, announced_news="old"),
        world.cluster.update_record("llama-3-8b", old.version, announced_news="old"),
        world.cluster.remove("llama-3-8b", old.version),
    ):
        with pytest.raises(Changed) as refused:
            await decided
        assert (refused.value.text.key, refused.value.text.params["name"]) == ("error.changed", "llama-3-8b")
    now = world.find("llama-3-8b")
    assert (now.spec, now.replicas) == (old.spec, 1)
    assert now.record == old.record.changed(pending_questions=asked)

    async def until_newest(write: Callable[[str], Any]) -> None:
        for _ in range(10):  # controllers write, too
            try:
                await write(world.find("llama-3-8b").version)
                return
            except Changed:
                continue

    await until_newest(lambda v: world.cluster.update_record("llama-3-8b", v, announced_news="x"))
    assert world.find("llama-3-8b").record.announced_news == "x"
    await until_newest(lambda v: world.cluster.change(spec(replicas=2), record(), awake=True, version=v))
    assert world.find("llama-3-8b").replicas == 2
    await until_newest(lambda v: world.cluster.remove("llama-3-8b", v))
    assert world.cluster.find("llama-3-8b") is None


async def test_why_it_sleeps_is_written_in_the_step_that_puts_it_to_sleep(world: World) -> None:
    await world.cluster.create(spec(), record(lease_ends_at=STARTED))
    await world.phase("llama-3-8b", Phase.READY)
    why = SleepState(reason=SleepReason.LEASE, last_activity=STARTED)
    await world.cluster.scale("llama-3-8b", 0, lease_ends_at=None, sleep_state=why)
    now = world.find("llama-3-8b")
    assert now.replicas == 0 and now.record == record(sleep_state=why)


async def test_what_is_remembered_is_kept_and_can_be_forgotten(world: World) -> None:
    await world.cluster.create(spec(), record(lease_ends_at=STARTED))
    later = {"U2": LastUse(who="eve", at=STARTED + timedelta(hours=1))}
    await world.cluster.update_record(
        "llama-3-8b", lease_ends_at=None, last_uses=later, card_place=Place("x", "y")
    )
    found = world.find("llama-3-8b").record
    assert found.lease_ends_at is None and found.last_uses == later and found.card_place == Place("x", "y")
    assert found.owner == "ada" and found.card_message_id == "m1"


WAYS: dict[str, Write] = {
    "change": lambda cluster, spec, record, what: cluster.change(spec, record.changed(**what), awake=False),
    "update_record": lambda cluster, spec, record, what: cluster.update_record(spec.name, **what),
    "scale": lambda cluster, spec, record, what: cluster.scale(spec.name, 0, **what),
}
"""All that writes a record."""


@pytest.mark.parametrize("way", WAYS)
async def test_each_field_of_a_record_that_was_created_is_gone_when_it_is_emptied(
    world: World, way: str
) -> None:
    assert CHANGED.keys() == Record.model_fields.keys()
    for number, (field, value) in enumerate(CHANGED.items()):
        its = spec(f"m{number}", 1)
        await world.cluster.create(its, FULL)
        for wanted in (value, getattr(FULL, field), value):  # emptied, set and emptied again
            what: dict[str, Any] = {field: wanted}
            await WAYS[way](world.cluster, its, FULL, what)
            assert world.find(its.name).record == FULL.changed(**what), field


async def test_each_field_of_a_spec_that_was_created_is_as_it_is_changed(world: World) -> None:
    assert OTHER_SPEC.keys() | {"name"} == Spec.model_fields.keys()
    for number, (field, value) in enumerate(OTHER_SPEC.items()):
        before = Spec(name=f"m{number}", **ALL_SPEC)
        assert getattr(before, field) != value
        await world.cluster.create(before, FULL)
        for wanted in (before.model_copy(update={field: value}), before):
            await world.cluster.change(wanted, FULL, awake=False)
            assert world.find(before.name).spec == wanted, field


async def test_every_field_of_a_record_can_be_set_and_emptied(world: World) -> None:
    everything = {name: getattr(FULL, name) for name in Record.model_fields}
    await world.cluster.create(spec(), record())
    await world.cluster.update_record("llama-3-8b", **everything)
    assert world.find("llama-3-8b").record == FULL
    await world.cluster.update_record("llama-3-8b", **EMPTY)
    assert world.find("llama-3-8b").record == PLAIN


async def test_a_change_of_the_workload_leaves_nothing_of_the_record_before(world: World) -> None:
    await world.cluster.create(spec(), FULL)
    assert world.find("llama-3-8b").record == FULL
    await world.cluster.change(spec(), PLAIN, awake=False)
    assert world.find("llama-3-8b").record == PLAIN
    await world.cluster.update_record("llama-3-8b", **{name: getattr(FULL, name) for name in EMPTY})
    assert world.find("llama-3-8b").record == FULL
    await world.cluster.change(spec(), PLAIN, awake=False)
    assert world.find("llama-3-8b").record == PLAIN


async def test_a_field_that_no_record_has_is_refused(world: World) -> None:
    await world.cluster.create(spec(), record())
    with pytest.raises(ValueError, match="warned"):
        await world.cluster.update_record("llama-3-8b", warned=STARTED)  # type: ignore[call-arg]
    assert world.find("llama-3-8b").record == record()


async def test_a_workload_is_found_by_the_name_of_its_objects_and_by_its_owner(world: World) -> None:
    await world.cluster.create(spec("qwen2.5-7b", 1), record(owner="ada"))
    await world.cluster.create(spec("tinyllama", 1), record(owner="eve"))
    found = world.cluster.find("Qwen2-5-7B")
    assert found and found.name == "qwen2.5-7b"
    assert world.cluster.find("qwen") is None
    assert [workload.name for workload in world.cluster.owned_by("eve")] == ["tinyllama"]
    assert world.cluster.owned_by("grace") == []
    assert world.cluster.written_by_newer() == []
    await world.cluster.remove("tinyllama")
    assert world.cluster.find("tinyllama") is None and world.cluster.owned_by("eve") == []


async def test_new_arguments_load_again_and_a_sleeper_stays_asleep_unless_woken(world: World) -> None:
    await world.cluster.create(spec(), record())
    await world.phase("llama-3-8b", Phase.READY)
    await world.cluster.change(spec(tp=4), record(card_message_id="m2"), awake=True)
    assert world.find("llama-3-8b").record.card_message_id == "m2"
    await world.until(
        lambda: (
            world.find("llama-3-8b").phase is Phase.READY
            and sum(node.free for node in world.cluster.nodes()) == 4
        )
    )
    await world.cluster.change(spec(tp=1, replicas=2), record(), awake=False)
    await world.phase("llama-3-8b", Phase.ASLEEP)
    await world.cluster.change(spec(tp=1, replicas=2), record(), awake=True)
    await world.until(lambda: world.find("llama-3-8b").ready_replicas == 2)


async def test_whole_gpus_of_one_node_or_the_queue(world: World) -> None:
    for name in ("one", "two"):
        await world.cluster.create(spec(name, 3), record())
        await world.phase(name, Phase.READY)
    await world.cluster.create(spec("three", 2), record())
    waiting = await world.phase("three", Phase.QUEUED)
    assert waiting.cause == "" and waiting.nodes == ()
    assert max(node.free for node in world.cluster.nodes()) == 1
    await world.cluster.remove("one")
    await world.phase("three", Phase.READY)


async def test_a_wake_returns_to_the_node_that_it_ran_on_unless_that_is_full(world: World) -> None:
    last = {"last_nodes": ("icc-gpu-2",)}
    for name in ("one", "two", "three"):
        await world.cluster.create(spec(name, 1), record(**last))
        assert (await world.phase(name, Phase.READY)).nodes == last["last_nodes"]
    for room, node in ((1, "icc-gpu-2"), (0, "icc-gpu-1")):
        await world.cluster.scale("one", 0, last_nodes=world.find("one").nodes_to_remember)
        asleep = await world.phase("one", Phase.ASLEEP)
        assert asleep.record.last_nodes == last["last_nodes"] == asleep.nodes_to_remember
        if not room:
            await world.cluster.create(spec("four"), record(**last))
            await world.phase("four", Phase.READY)
        await world.cluster.change(spec("one", 1), asleep.record, awake=True)
        assert (await world.phase("one", Phase.READY)).nodes == (node,)


async def test_what_is_removed_is_gone(world: World) -> None:
    await world.cluster.create(spec(), record())
    await world.cluster.remove("llama-3-8b")
    assert world.cluster.workloads() == []
    for change in (
        world.cluster.remove("llama-3-8b"),
        world.cluster.scale("llama-3-8b", 0),
        world.cluster.change(spec(), record(), awake=True),
        world.cluster.update_record("llama-3-8b", announced_news="x"),
        world.cluster.endpoint("llama-3-8b"),
    ):
        with pytest.raises(UserError) as refused:
            await change
        assert refused.value.text.key == "workload.gone"
    await world.cluster.create(spec(), record())
    await world.phase("llama-3-8b", Phase.READY)


async def test_the_log_of_the_newest_pod(world: World) -> None:
    await world.cluster.create(spec(), record())
    await world.phase("llama-3-8b", Phase.READY)
    everything = (await world.cluster.logs("llama-3-8b", 100)).splitlines()
    assert any("Starting to load model" in line for line in everything)
    last = (await world.cluster.logs("llama-3-8b", 2)).splitlines()
    assert last == everything[-2:]


async def test_an_endpoint_has_an_address_a_name_and_a_key_that_stays(world: World) -> None:
    await world.cluster.create(spec(), record())
    endpoint = await world.cluster.endpoint("llama-3-8b")
    assert endpoint.model == "llama-3-8b" and len(endpoint.api_key) > 8
    await world.cluster.complete("llama-3-8b")
    assert await world.cluster.endpoint("llama-3-8b") == endpoint


async def test_listeners_hear_what_changed_since_they_listen(world: World) -> None:
    heard: list[str] = []

    async def listen(names: AsyncIterator[str]) -> None:
        async for name in names:
            heard.append(name)

    with world.cluster.changes() as names:
        listening = asyncio.create_task(listen(names))
        await world.cluster.create(spec(), record())
        await world.phase("llama-3-8b", Phase.READY)
        await world.until(lambda: heard)
        await world.cluster.remove("llama-3-8b")
        heard.clear()
        await world.cluster.create(spec("other", 1), record())
        await world.until(lambda: "other" in heard)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_one_that_waits_for_gpus_changes_with_what_is_free(world: World) -> None:
    heard: list[str] = []

    async def listen(names: AsyncIterator[str]) -> None:
        async for name in names:
            heard.append(name)

    await world.cluster.create(spec("runs", 4), record())
    await world.phase("runs", Phase.READY)
    await world.cluster.create(spec("waits", 4), record(queued_since=STARTED))
    await world.phase("waits", Phase.QUEUED)
    with world.cluster.changes() as names:
        listening = asyncio.create_task(listen(names))
        await world.cluster.remove("runs")
        await world.until(lambda: sum(node.free for node in world.cluster.nodes()) == 8)
        await world.until(lambda: "waits" in heard)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert world.find("waits").placed_replicas == 0


async def test_open_webui_is_connected_to_the_models_that_are_named(world: World) -> None:
    await world.cluster.create(spec(), record())
    assert world.cluster.web_ui() is None
    await world.cluster.apply_web_ui(["llama-3-8b"], "ada")
    await world.until(lambda: (shown := world.cluster.web_ui()) and shown.ready)
    found = world.cluster.web_ui()
    assert found and found.connected == ("llama-3-8b",) and found.owner == "ada"
    assert "port-forward" in found.reach
    await world.cluster.apply_web_ui([], "ada")
    await world.until(lambda: (shown := world.cluster.web_ui()) and shown.connected == ())
    await world.cluster.remove_web_ui()
    assert world.cluster.web_ui() is None


async def test_a_text_is_kept_and_replaced(world: World) -> None:
    assert await world.cluster.load_state() == ""
    await world.cluster.save_state("{}")
    await world.cluster.save_state('{"number": 7, "über": "✕"}')
    assert await world.cluster.load_state() == '{"number": 7, "über": "✕"}'
    await world.cluster.set_state_aside("{broken")
    assert await world.cluster.load_state() == '{"number": 7, "über": "✕"}'
    assert world.cluster.missing_rights() == [] and world.cluster.stalled() == []
