"""Whole or told: kills, lost answers and a database that stops leave nothing half made, and no lie."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from bot.app.settings import Settings
from bot.cluster.adapter import KubernetesCluster
from bot.core.chat.errors import UserError
from bot.core.chat.message import Message, User
from bot.core.deployment.record import SleepReason, SleepState
from bot.core.deployment.workload import Phase
from tests.attacks.gate import Gate, killed
from tests.attacks.writing import (
    PLACE,
    RECORD,
    STARTED,
    Write,
    another,
    is_so,
    its_secret,
    only,
    ours_left,
    phase_of,
    put_theirs,
    said,
    spec,
    stored,
    until_asked,
    untouched,
    with_key,
)
from tests.conftest import Chat, eventually, text_of
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, at_work, real_world


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path) as world:
        yield await with_key(world)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_kind_05_whatever_a_kill_leaves_is_completed_by_the_next_sweep(
    world: RealWorld, tmp_path: Path, done: bool
) -> None:
    number = 0
    async with Gate(world.kubeconfig) as gate:
        way = gate.kubeconfig(tmp_path)
        while True:
            number += 1
            async with another(world, way) as victim:
                if not await killed(victim.create(spec(), RECORD), gate, number, done=done):
                    break
            async with another(world) as heir:
                phases = {workload.phase for workload in heir.workloads()}
                assert phases <= {Phase.SCHEDULING, Phase.LOADING, Phase.PREPARING, Phase.READY}, number
                await heir.complete("tiny")
                if heir.workloads():
                    await eventually(partial(_all_ready, heir))
                    await its_secret(world)
                    await stored(world, "services")
                    await heir.remove("tiny")
    assert number > 4  # the Deployment, its Secret and Service, the claim, its replicas


@pytest.mark.parametrize("queued", [False, True], ids=["starting", "in the queue"])
async def test_kind_05_the_sweep_completes_it_in_whatever_phase(
    world: RealWorld, tmp_path: Path, queued: bool
) -> None:
    """It was done only when the bot started, and not for one that was settled."""
    many = dict.fromkeys(("urgent", "one"), 4)
    now = datetime.now(UTC)
    record = RECORD.changed(start_requested_at=now, queued_since=now if queued else None)
    for name, gpus in many.items() if queued else ():
        await world.cluster.create(spec(name, tensor_parallel_size=gpus), record.changed(queued_since=None))
        await eventually(partial(_is_ready, world, name))
    settings = Settings(_env_file=None, database_url="sqlite://", sweep_interval=timedelta(seconds=10))
    async with (
        Gate(world.kubeconfig) as gate,
        another(world, gate.kubeconfig(tmp_path)) as victim,
        at_work(settings, world.cluster, Chat()),
    ):
        assert await killed(victim.create(spec(), record), gate, 2, done=False)
        await eventually(lambda: world.cluster.find("tiny"))
        await until_asked(partial(_has, world, "services", "llm-tiny"))
        await until_asked(partial(_is_whole, world))
        expected = Phase.QUEUED if queued else Phase.READY
        await eventually(lambda: phase_of(world, "tiny") is expected)


async def _has(world: RealWorld, kind: str, name: str) -> bool:
    return name in await world.names(kind)


async def _is_whole(world: RealWorld) -> bool:
    return "llm-bot/creating" not in (await stored(world, "deployments"))["metadata"]["annotations"]


async def test_kind_05_half_made_ones_are_completed_whatever_has_been_asked_of_them_since(
    world: RealWorld, tmp_path: Path
) -> None:
    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as victim:
        assert await killed(victim.create(spec(), RECORD), gate, 2, done=False)
    async with another(world) as heir:
        assert only(heir).replicas == 1 and only(heir).gpus_held == 1
        state = SleepState(reason=SleepReason.PERSON, told=True)
        await heir.scale("tiny", 0, sleep_state=state)
        assert only(heir).phase is Phase.ASLEEP
        await heir.complete("tiny")
        await stored(world, "services")
        assert (only(heir).phase, only(heir).replicas) == (Phase.ASLEEP, 0)
        assert "llm-bot/creating" not in (await stored(world, "deployments"))["metadata"]["annotations"]
        await heir.change(spec(), RECORD, awake=True)
        await eventually(lambda: only(heir).phase is Phase.READY)


async def test_kind_05_a_sweep_that_comes_while_it_is_made_does_no_harm(
    world: RealWorld, tmp_path: Path
) -> None:
    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as maker:

        async def sweep() -> None:
            await eventually(lambda: world.cluster.workloads())
            await world.cluster.complete("tiny")
            await world.cluster.scale("tiny", 0, announced_news="asleep")

        for number in range(2, 6):
            gate.begin(number, before=sweep)
            await maker.create(spec(), RECORD)
            found = await stored(world, "deployments")
            assert found["spec"]["replicas"] == 0, number  # what came later holds
            assert found["metadata"]["annotations"]["llm-bot/announced-news"] == "asleep"
            await maker.remove("tiny")
            await eventually(lambda: not world.cluster.workloads())


async def test_kind_05_one_that_is_stopped_while_it_is_made_is_gone(world: RealWorld, tmp_path: Path) -> None:
    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as maker:

        async def stop() -> None:
            await eventually(lambda: world.cluster.workloads())
            await world.cluster.remove("tiny")

        gate.begin(5, before=stop)
        with pytest.raises(UserError) as told:
            await maker.create(spec(), RECORD)
        assert told.value.text.key == "workload.gone"
        await until_asked(lambda: is_so(ours_left(world), []))


async def test_kind_05_what_can_never_be_completed_is_removed(world: RealWorld, tmp_path: Path) -> None:
    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as victim:
        assert await killed(victim.create(spec(), RECORD), gate, 1, done=True)
    theirs = await put_theirs(world, "services", "llm-tiny")
    async with another(world) as heir:
        with pytest.raises(UserError) as refused:
            await heir.complete("tiny")
        assert refused.value.text.key == "error.not_ours" and heir.workloads() == []
    assert "llm-tiny" not in await world.names("deployments")
    assert untouched(theirs, await stored(world, "services"))


WRITES: dict[str, Write] = {
    "sleep": lambda cluster: cluster.scale("tiny", 0, announced_news="x"),
    "keep": lambda cluster: cluster.update_record("tiny", keep_until=STARTED, announced_news="x"),
    "scale": lambda cluster: cluster.change(
        spec(max_model_len=512), RECORD.changed(announced_news="x"), awake=True
    ),
}


@pytest.mark.parametrize("name", WRITES)
async def test_kind_05_of_an_answer_that_is_lost_it_is_found_out_what_came_of_it(
    world: RealWorld, tmp_path: Path, name: str
) -> None:
    await world.cluster.create(spec(), RECORD)
    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as cluster:
        gate.begin(1, cut=True)
        with pytest.raises(UserError) as told:
            await WRITES[name](cluster)
        assert told.value.text.key == "error.not_done"
        assert only(cluster).record.announced_news == ""
        gate.begin(1, after=lambda: None, cut=True)
        await WRITES[name](cluster)
        assert len(gate.writes) == 1
        assert only(cluster).record.announced_news == "x"


async def test_kind_05_a_deploy_and_a_stop_whose_answers_are_lost_are_found_out(
    world: RealWorld, tmp_path: Path
) -> None:
    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as cluster:
        gate.begin(1, cut=True)
        with pytest.raises(UserError) as told:
            await cluster.create(spec(), RECORD)
        assert told.value.text.key == "error.not_done" and await ours_left(world) == []
        for number in range(1, 6):
            gate.begin(number, after=lambda: None, cut=True)
            await cluster.create(spec(), RECORD)
            assert "llm-tiny" in await world.names("services")
            assert (await stored(world, "deployments"))["spec"]["replicas"] == 1
            gate.begin(1, after=lambda: None, cut=True)
            await cluster.remove("tiny")
            assert cluster.workloads() == []


async def test_kind_05_while_nobody_knows_that_is_what_is_said_and_then_what_was_found(
    world: RealWorld, tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, database_url="sqlite://", admins=frozenset({"ada"}))
    chat = Chat()
    async with (
        Gate(world.kubeconfig) as gate,
        another(world, gate.kubeconfig(tmp_path)) as cluster,
        at_work(settings, cluster, chat) as bot,
    ):
        for done in (True, False):
            gate.begin()
            await said(bot.dispatcher.handle, chat, "deploy tinyllama name=tiny")
            await eventually(lambda: only(cluster).phase is Phase.READY)
            before, after = (None, gate.shut) if done else (gate.shut, None)
            gate.begin(1, before, after, cut=True, only="DELETE")
            asked = bot.dispatcher.handle(Message("stop tiny --sure", User("ada", "ada", "en"), PLACE))
            first = await anext(asked)
            assert text_of(first).key == "error.outcome_unknown"
            assert [line.key for line in first.lines] == ["error.looking"]
            gate.open()
            last = [reply async for reply in asked]
            assert [text_of(reply).key for reply in last] == ["error.was_done" if done else "error.not_done"]
            assert ("llm-tiny" in await world.names("deployments")) is not done
            await eventually(partial(_shows, cluster, int(not done)))


@pytest.mark.parametrize("at", [1, 3])
async def test_kind_05_a_database_that_stops_for_20_seconds_leaves_no_lie(
    world: RealWorld, tmp_path: Path, at: int
) -> None:
    """Three of three deploys were told that nothing had changed; all existed, without Secret and Service."""
    names = ("one", "two", "three")
    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as cluster:
        frozen = asyncio.Event()

        def freeze() -> None:
            world.plane.freeze_etcd()
            frozen.set()

        gate.begin(at, before=freeze)
        asked = [asyncio.create_task(cluster.create(spec(name), RECORD)) for name in names]
        try:
            await frozen.wait()
            await asyncio.sleep(20)
        finally:
            world.plane.thaw_etcd()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        exist = await world.names("deployments")
        for name, answer in zip(names, answers, strict=True):
            key = answer.text.key if isinstance(answer, UserError) else ""
            assert key in ("", "error.not_done", "error.api_away"), answer
            assert (f"llm-{name}" in exist) is (not key), (answers, exist)
    for name in [name for name in names if f"llm-{name}" in exist]:
        await eventually(partial(world.cluster.find, name))
        await world.cluster.complete(name)
        await eventually(partial(_is_ready, world, name))
        await its_secret(world, f"llm-{name}")


def _shows(cluster: KubernetesCluster, count: int) -> bool:
    return len(cluster.workloads()) == count


def _all_ready(cluster: KubernetesCluster) -> bool:
    return all(workload.phase is Phase.READY for workload in cluster.workloads())


def _is_ready(world: RealWorld, name: str) -> bool:
    return phase_of(world, name) is Phase.READY
