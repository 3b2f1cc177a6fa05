"""What somebody does to a model's objects with kubectl, while the bot looks after them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bot.cluster.manifests import key_secret
from bot.core.chat.errors import NameTaken, UserError
from bot.core.chat.text import Say
from bot.core.deployment.workload import Phase
from tests.attacks.writing import RECORD, Write, only, path, spec, stored, until_asked
from tests.conftest import eventually
from tests.real.control_plane import ControlPlane
from tests.real.pod_status import MERGE_PATCH
from tests.real.world import RealWorld, real_world

WAKES: dict[str, Write] = {
    "wake": lambda cluster: cluster.scale("tiny", 1),
    "change": lambda cluster: cluster.change(spec(max_model_len=512), RECORD, awake=True),
}


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path) as world:
        await world.cluster.create(spec(), RECORD)
        await eventually(lambda: only(world.cluster).phase is Phase.READY)
        yield world


@pytest.mark.parametrize("how", WAKES)
async def test_who_starts_gets_the_service_and_the_key_that_somebody_deleted(
    world: RealWorld, how: str
) -> None:
    """Its pods waited for the Secret for ever, and its address was no address."""
    key = key_secret(await stored(world, "deployments"))
    held = (await stored(world, "secrets", key))["data"]
    await world.cluster.scale("tiny", 0)
    await world.admin.request("DELETE", path(world, "secrets", key))
    await world.admin.request("DELETE", path(world, "services", "llm-tiny"))
    await WAKES[how](world.cluster)
    deployment = await stored(world, "deployments")
    assert key_secret(deployment) == key and (await stored(world, "secrets", key))["data"] == held
    owners = [(await stored(world, *what))["metadata"]["ownerReferences"] for what in _both(key)]
    assert [owner["uid"] for [owner] in owners] == 2 * [deployment["metadata"]["uid"]]


def _both(key: str) -> tuple[tuple[str, str], ...]:
    return (("secrets", key), ("services", "llm-tiny"))


async def test_what_is_changed_is_rolled_out_though_somebody_paused_that(world: RealWorld) -> None:
    """The bot said tp 2 and ready, while the pod of before ran on with one GPU."""
    await _patch(world, {"spec": {"paused": True}})
    await world.cluster.change(spec(tensor_parallel_size=2), RECORD, awake=True)

    async def runs_anew() -> bool:
        limits = [pod["spec"]["containers"][0]["resources"]["limits"] for pod in await world.pods("tiny")]
        return [limit["nvidia.com/gpu"] for limit in limits] == ["2"]

    await until_asked(runs_anew)


async def test_one_that_a_finalizer_holds_gives_its_gpus_back_before_it_is_removed(
    world: RealWorld, say: Say
) -> None:
    """It was said to be stopped while its pod ran on, for ever; and its name to be somebody else's."""
    await _patch(world, {"metadata": {"finalizers": ["example.org/held"]}})
    version = (await stored(world, "deployments"))["metadata"]["resourceVersion"]
    await eventually(lambda: int(only(world.cluster).version) >= int(version))
    with pytest.raises(UserError) as held:
        await world.cluster.remove("tiny")
    assert "example.org/held" in say(held.value.text) and only(world.cluster).replicas
    await world.cluster.scale("tiny", 0)
    await eventually(lambda: only(world.cluster).phase is Phase.ASLEEP)
    await world.cluster.remove("tiny")
    await eventually(lambda: not world.cluster.workloads())
    try:
        with pytest.raises(NameTaken) as refused:
            await world.cluster.create(spec(), RECORD)
        assert "not gone yet" in say(refused.value.text) and "example.org/held" in say(refused.value.text)
    finally:
        await _patch(world, {"metadata": {"finalizers": None}})


async def _patch(world: RealWorld, body: dict[str, object]) -> None:
    await world.admin.request("PATCH", path(world, "deployments", "llm-tiny"), body, None, MERGE_PATCH)
