"""What is written is what is meant: on the real API server, as the bot's ServiceAccount."""

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from bot.app.settings import Settings
from bot.cluster.annotations import NAMES
from bot.core.chat.errors import Changed
from bot.core.deployment.workload import Phase, Spec
from bot.engines.vllm.engine import MANIFEST, Vllm
from tests.attacks.gate import Gate
from tests.attacks.writing import (
    RECORD,
    Json,
    Write,
    another,
    only,
    path,
    phase_of,
    said,
    spec,
    stored,
    with_key,
)
from tests.conftest import Chat, eventually, text_of
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, at_work, real_world
from tests.records import ALL_SPEC, CHANGED, EMPTY, FULL, OTHER_SPEC


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path) as world:
        yield await with_key(world)


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
    assert without_key(changed["template"]) == without_key(fresh["template"])


def without_key(template: Json) -> Json:
    """Each deployment has a key of its own, in a Secret of its own."""
    text: Json = json.loads(re.sub(r"llm-tiny-[0-9a-f]{20}", "llm-tiny-key", json.dumps(template)))
    return text


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


async def test_kind_01_what_an_older_version_made_and_applied_keeps_nothing_either(world: RealWorld) -> None:
    """operator-utils 103, Kubernetes 99003: who turns to another way of writing never loses what the way of
    before owns."""
    await world.cluster.create(spec(), FULL)
    made = await stored(world, "deployments")
    metadata = {name: made["metadata"][name] for name in ("name", "annotations", "labels")}
    old = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": made["spec"]}
    for manager in ("llm-bot", "llm-bot-old"):
        asked = {"fieldManager": manager, "force": "true"}
        where = path(world, "deployments", "llm-tiny")
        await world.admin.request("PATCH", where, old, asked, "application/apply-patch+yaml")
    owners = (await stored(world, "deployments"))["metadata"]["managedFields"]
    assert {("llm-bot", "Update"), ("llm-bot", "Apply")} <= {(o["manager"], o["operation"]) for o in owners}

    await world.cluster.change(spec(), FULL.changed(**EMPTY), awake=False)
    left = (await stored(world, "deployments"))["metadata"]["annotations"]
    assert not [field for field, value in EMPTY.items() if not value and NAMES[field] in left]


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
