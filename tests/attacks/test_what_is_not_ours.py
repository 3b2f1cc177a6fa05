"""What is not the bot's is never touched, and its own objects cannot be named by people."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bot.core.chat.errors import UserError
from bot.core.deployment.names import valid_name
from tests.attacks.gate import Gate
from tests.attacks.writing import (
    RECORD,
    THEIRS,
    Json,
    another,
    is_so,
    its_secret,
    ours_left,
    path,
    put_theirs,
    spec,
    stored,
    until_asked,
    untouched,
    with_key,
)
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, real_world


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path) as world:
        yield await with_key(world)


@pytest.mark.parametrize("kind", ["services", "deployments"])
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


async def test_kind_03_one_that_appears_at_the_last_moment_is_left_and_the_rest_taken_back(
    world: RealWorld, tmp_path: Path
) -> None:
    made: list[Json] = []

    async def somebody_is_faster() -> None:
        made.append(await put_theirs(world, "services", "llm-tiny"))

    async with Gate(world.kubeconfig) as gate, another(world, gate.kubeconfig(tmp_path)) as cluster:
        gate.begin(1, after=somebody_is_faster)
        with pytest.raises(UserError) as refused:
            await cluster.create(spec(), RECORD)
        assert refused.value.text.key == "error.not_ours"
        assert cluster.workloads() == []
    await until_asked(lambda: is_so(ours_left(world), ["llm-tiny"]))
    assert untouched(made[0], await stored(world, "services"))


@pytest.mark.parametrize(("name", "hf_token"), [("llm-tiny", ""), ("llm-hf-token", "hf_x")])
async def test_kind_03_a_secret_of_others_is_never_changed_or_deleted(
    control_plane: ControlPlane, tmp_path: Path, name: str, hf_token: str
) -> None:
    """`deploy … name=hf-token` took over the token of all models, and `stop` deleted it."""
    async with real_world(control_plane, tmp_path, hf_token=hf_token) as world:
        theirs = await put_theirs(world, "secrets", name)
        if hf_token:
            with pytest.raises(UserError) as refused:
                await world.cluster.create(spec(), RECORD)
            assert refused.value.text.params["object"] == name and not refused.value.lines
            assert world.cluster.workloads() == []
        else:
            await world.cluster.create(spec(), RECORD)
            await world.cluster.remove("tiny")
            await until_asked(lambda: is_so(ours_left(world), [name]))
        assert untouched(theirs, await stored(world, "secrets", name))


async def test_kind_03_what_is_left_of_our_own_is_no_foreigner(world: RealWorld) -> None:
    """The garbage collector may not have come yet."""
    for number in range(5):
        await world.cluster.create(spec(), RECORD)
        owner = (await stored(world, "deployments"))["metadata"]["uid"]
        for thing in (await its_secret(world), await stored(world, "services")):
            [found] = thing["metadata"]["ownerReferences"]
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
