"""What is written is what is meant, what is not ours stays, and nothing is half made without a word.

On the real API server, as the bot's ServiceAccount."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from bot.app.engines import ENGINE
from bot.app.settings import Settings
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.annotations import NAMES
from bot.cluster.manifests import WorkloadSettings
from bot.core.chat.errors import Changed, UserError
from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply
from bot.core.deployment.names import valid_name
from bot.core.deployment.record import Record, SleepReason, SleepState
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.ports import Engine
from bot.engines.vllm.engine import MANIFEST, Vllm
from tests.attacks.gate import Gate, killed
from tests.conftest import PATIENCE, Chat, eventually, text_of
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, at_work, real_world
from tests.records import ALL_SPEC, CHANGED, FULL, OTHER_SPEC

Json = dict[str, Any]
STARTED = datetime(2030, 1, 1, 12, tzinfo=UTC)
RECORD = Record(owner="ada", owner_name="ada", start_requested_at=STARTED)
PLACE = Place("test", "C1", "1.0")
Write = Callable[[KubernetesCluster], Coroutine[Any, Any, None]]


def spec(name: str = "tiny", **more: Any) -> Spec:
    return Spec(**({"name": name, "model": name, "repo": f"org/{name}", "max_model_len": 2048} | more))


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path) as world:
        yield world


@asynccontextmanager
async def another(
    world: RealWorld, kubeconfig: str = "", engine: Engine = ENGINE
) -> AsyncIterator[KubernetesCluster]:
    """Another process's view of the same namespace."""
    settings = WorkloadSettings(namespace=world.namespace)
    way = kubeconfig or str(world.kubeconfig)
    async with KubernetesCluster(way, settings, "http://127.0.0.1:9", engine) as cluster:
        yield cluster


def path(world: RealWorld, kind: str, name: str = "") -> str:
    group = "/apis/apps/v1" if kind == "deployments" else "/api/v1"
    return f"{group}/namespaces/{world.namespace}/{kind}" + (f"/{name}" if name else "")


async def stored(world: RealWorld, kind: str, name: str = "llm-tiny") -> Json:
    found: Json = await world.admin.request("GET", path(world, kind, name))
    return found


def only(cluster: KubernetesCluster) -> Workload:
    [workload] = cluster.workloads()
    return workload


async def until_asked(true: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Wait for what only the API server knows."""
    async with asyncio.timeout(PATIENCE):
        while not await true():
            await asyncio.sleep(0.1)


# --- kind 1: one way to write a Deployment ---


async def test_kind_01_no_field_of_a_record_survives_on_the_cluster(world: RealWorld) -> None:
    """What POST wrote belonged to another field manager than what apply left out."""
    await world.cluster.create(spec(), FULL)
    theirs = ("theirs=1", "-n", world.namespace)
    for verb in ("annotate", "label"):
        world.plane.kubectl(verb, "deployment", "llm-tiny", *theirs)
    for field, value in CHANGED.items():
        what: dict[str, Any] = {field: value}
        emptied = FULL.changed(**what)
        await world.cluster.change(spec(), FULL, awake=False)
        assert NAMES[field] in (await stored(world, "deployments"))["metadata"]["annotations"]
        await world.cluster.change(spec(), emptied, awake=False)
        metadata = (await stored(world, "deployments"))["metadata"]
        assert (NAMES[field] in metadata["annotations"]) is bool(value or field == "role"), field
        assert metadata["annotations"]["theirs"] == metadata["labels"]["theirs"] == "1"


@pytest.mark.parametrize("field", OTHER_SPEC)
async def test_kind_01_a_changed_spec_runs_what_a_new_one_would(world: RealWorld, field: str) -> None:
    """Nothing of the template before is left, in whatever field of the spec it was asked for."""
    before = Spec(name="tiny", **ALL_SPEC)
    wanted = before.model_copy(update={field: OTHER_SPEC[field]})
    await world.cluster.create(before, FULL)
    await world.cluster.change(wanted, FULL, awake=False)
    changed = (await stored(world, "deployments"))["spec"]
    await world.cluster.remove("tiny")
    await world.cluster.create(wanted, FULL)
    fresh = (await stored(world, "deployments"))["spec"]
    assert changed["template"] == fresh["template"]


async def test_kind_01_what_the_manifest_no_longer_has_is_lost_with_the_next_change(
    world: RealWorld, tmp_path: Path
) -> None:
    """`scale tp=1` kept /dev/shm for ever."""
    await world.cluster.create(spec(tensor_parallel_size=2), RECORD)
    objects = list(yaml.safe_load_all(MANIFEST.read_text()))
    pod = objects[-1]["spec"]["template"]["spec"]
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "shm"]
    mounts = pod["containers"][0]["volumeMounts"]
    pod["containers"][0]["volumeMounts"] = [mount for mount in mounts if mount["name"] != "shm"]
    manifest = tmp_path / "vllm.yaml"
    manifest.write_text(yaml.safe_dump_all(objects))
    async with another(world, engine=Vllm(manifest)) as later:
        await later.change(spec(), RECORD, awake=True)
    pod = (await stored(world, "deployments"))["spec"]["template"]["spec"]
    assert "shm" not in str(pod["volumes"]) and "shm" not in str(pod["containers"])


OLD_DECISIONS: dict[str, Write] = {
    "change": lambda old: old.change(spec(max_model_len=512), RECORD, awake=False),
    "scale": lambda old: old.scale("tiny", 0),
    "update": lambda old: old.update_record("tiny", announced_news="x"),
    "remove": lambda old: old.remove("tiny"),
}


@pytest.mark.parametrize("name", OLD_DECISIONS)
async def test_kind_01_a_decision_about_another_deployment_of_the_name_is_not_carried_out(
    world: RealWorld, tmp_path: Path, name: str
) -> None:
    await world.cluster.create(spec(), RECORD)
    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as old:
        gate.blind()  # it does not hear that the model is stopped, and deployed anew by somebody else
        await world.cluster.remove("tiny")
        await world.cluster.create(spec(), RECORD.changed(owner="eve"))
        assert only(old).record.owner == "ada"
        with pytest.raises(Changed):
            await OLD_DECISIONS[name](old)
        assert only(old).record.owner == "eve"
        gate.see()
    now = await stored(world, "deployments")
    assert now["metadata"]["annotations"]["llm-bot/owner"] == "eve" and now["spec"]["replicas"] == 1
    assert only(world.cluster).record.announced_news == ""


async def test_kind_01_the_line_starts_each_once_and_says_so_once(world: RealWorld) -> None:
    """It was its turn 1,386 times in a minute: `queued-since` could not be removed."""
    settings = Settings(
        _env_file=None,
        database_url="sqlite://",
        sweep_interval=timedelta(seconds=10),
        admins=frozenset({"ada"}),
    )
    chat = Chat()
    async with at_work(settings, world.cluster, chat) as bot:
        ask = partial(said, bot.dispatcher.handle, chat)
        for name in ("one", "two"):
            await ask(f"deploy tinyllama tp=4 name={name}")
        await eventually(lambda: [w.phase for w in world.cluster.workloads()] == [Phase.READY] * 2)
        await ask("deploy tinyllama tp=4 name=three")
        await eventually(lambda: phase_of(world, "three") is Phase.QUEUED)
        await ask("stop one --sure")
        await eventually(lambda: phase_of(world, "three") is Phase.READY)
        started = world.cluster.find("three")
        assert started and started.record.queued_since is None
        await ask("sleep three")
        await eventually(lambda: phase_of(world, "three") is Phase.ASLEEP)
        turns = [history for history in chat.messages.values() if text_of(history[0]).key == "queue.turn"]
        assert len(turns) == 1
        asleep = world.cluster.find("three")
        assert asleep and asleep.replicas == 0
        assert asleep.record.start_requested_at == started.record.start_requested_at
        assert (await stored(world, "deployments", "llm-three"))["spec"]["replicas"] == 0


def phase_of(world: RealWorld, name: str) -> Phase | None:
    found = world.cluster.find(name)
    return found.phase if found else None


async def said(handle: Any, chat: Chat, line: str, who: str = "ada") -> list[Reply]:
    """All replies to a line; the first is posted, later ones change it."""
    replies = handle(Message(line, User(who, who, "en"), PLACE))
    seen: list[Reply] = []
    message: str | None = None
    try:
        while True:
            reply = await replies.asend(message)
            if message is None:
                message = await chat.post(PLACE, reply)
            else:
                await chat.edit(PLACE, message, reply)
            seen.append(reply)
    except StopAsyncIteration:
        return seen


# --- kind 3: what is not ours ---

SECRET = {"apiVersion": "v1", "kind": "Secret", "stringData": {"token": "theirs"}}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80, "targetPort": 80}]},
}
CONTAINER = {"name": "theirs", "image": "theirs"}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "theirs"}},
        "template": {"metadata": {"labels": {"app": "theirs"}}, "spec": {"containers": [CONTAINER]}},
    },
}
THEIRS = {"secrets": SECRET, "services": SERVICE, "deployments": DEPLOYMENT}


def untouched(before: Json, now: Json) -> bool:
    """It is still what somebody made of it, whatever its controller has written since."""
    parts = ("data", "spec")
    same = all(before.get(part) == now.get(part) for part in parts)
    return same and all(before["metadata"].get(key) == now["metadata"].get(key) for key in ("uid", "labels"))


async def put_theirs(world: RealWorld, kind: str, name: str) -> Json:
    """An object of somebody else."""
    body = {**THEIRS[kind], "metadata": {"name": name}}
    made: Json = await world.admin.request("POST", path(world, kind), body)
    return made


async def ours_left(world: RealWorld) -> list[str]:
    """Objects that belong to a model."""
    return [n for kind in THEIRS for n in await world.names(kind) if n.startswith("llm-tiny")]


@pytest.mark.parametrize("kind", THEIRS)
async def test_kind_03_a_name_that_others_have_is_refused_before_anything_exists(
    world: RealWorld, kind: str
) -> None:
    theirs = await put_theirs(world, kind, "llm-tiny")
    with pytest.raises(UserError) as refused:
        await world.cluster.create(spec(), RECORD)
    names = {"kind": theirs.get("kind", ""), "object": "llm-tiny", "namespace": world.namespace}
    assert refused.value.text.key == "error.not_ours"
    assert refused.value.text.params == names | {"kind": THEIRS[kind]["kind"]}
    assert [line.key for line in refused.value.lines] == ["deploy.other_name"]
    assert await ours_left(world) == ["llm-tiny"]
    assert untouched(theirs, await stored(world, kind))


@pytest.mark.parametrize("kind", ["secrets", "services"])
async def test_kind_03_one_that_appears_at_the_last_moment_is_left_and_the_rest_taken_back(
    world: RealWorld, tmp_path: Path, kind: str
) -> None:
    made: list[Json] = []

    async def somebody_is_faster() -> None:
        made.append(await put_theirs(world, kind, "llm-tiny"))

    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as cluster:
        gate.begin(1, after=somebody_is_faster)
        with pytest.raises(UserError) as refused:
            await cluster.create(spec(), RECORD)
        assert refused.value.text.key == "error.not_ours"
        assert cluster.workloads() == []
    await until_asked(lambda: _is(ours_left(world), ["llm-tiny"]))
    assert untouched(made[0], await stored(world, kind))


async def _is(asked: Coroutine[Any, Any, object], expected: object) -> bool:
    return await asked == expected


async def test_kind_03_what_is_left_of_our_own_is_no_foreigner(world: RealWorld) -> None:
    """The garbage collector may not have come yet."""
    for number in range(5):
        await world.cluster.create(spec(), RECORD)
        owner = (await stored(world, "deployments"))["metadata"]["uid"]
        for kind in ("secrets", "services"):
            [found] = (await stored(world, kind))["metadata"]["ownerReferences"]
            assert found["uid"] == owner, number
        await world.cluster.remove("tiny")


async def test_kind_03_open_webui_and_the_state_leave_what_others_have(world: RealWorld) -> None:
    theirs = await put_theirs(world, "services", "llm-webui")
    with pytest.raises(UserError) as refused:
        await world.cluster.apply_web_ui([], "ada")
    assert refused.value.text.key == "error.not_ours"
    assert "llm-webui" not in await world.names("secrets") + await world.names("deployments")
    await world.cluster.remove_web_ui()
    assert untouched(theirs, await stored(world, "services", "llm-webui"))
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "llm-bot-alerts"},
        "data": {"a": "b"},
    }
    kept = await world.admin.request("POST", path(world, "configmaps"), body)
    for write in (world.cluster.save_state("x"), world.cluster.set_state_aside("x")):
        with pytest.raises(UserError) as refused:
            await write
        assert refused.value.text.key == "error.not_ours"
    assert untouched(kept, await stored(world, "configmaps", "llm-bot-alerts"))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "bot",
            "bot-mattermost",
            "bot.mattermost",
            "bot-alerts",
            "hf-token",
            "hf.token",
            "models",
            "models.x",
        ),
        *("webui", "webui-2", "gateway", "gateway.keys", "models-egress"),
    ],
)
def test_kind_03_the_bots_own_objects_cannot_be_named(name: str) -> None:
    with pytest.raises(UserError) as refused:
        valid_name(name)
    assert refused.value.text.key == "deploy.bad_name"


@pytest.mark.parametrize("name", ["my-bot", "botany", "hf", "model", "webuis", "qwen2.5-7b", "llama-3-8b"])
def test_kind_03_other_names_are_free(name: str) -> None:
    assert valid_name(name) == name


# --- kind 5: whole, or told ---


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
                    await stored(world, "secrets")
                    await stored(world, "services")
                    await heir.remove("tiny")
    assert number > 4  # the Deployment, its Secret and Service, the claim, its replicas


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
        await stored(world, "secrets", f"llm-{name}")


def _shows(cluster: KubernetesCluster, count: int) -> bool:
    return len(cluster.workloads()) == count


def _all_ready(cluster: KubernetesCluster) -> bool:
    return all(workload.phase is Phase.READY for workload in cluster.workloads())


def _is_ready(world: RealWorld, name: str) -> bool:
    return phase_of(world, name) is Phase.READY
