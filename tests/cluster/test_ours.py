"""Objects of the bot beside those of others, over the wire."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.cluster import ours
from bot.cluster.client import Api, connect
from bot.core.chat.errors import UserError
from tests.fakes.kubernetes import FakeKubernetes

MAPS = "/api/v1/namespaces/demo/configmaps"
LABELS = {"app.kubernetes.io/managed-by": "llm-bot", "a/b~c": "d"}


def config_map(labels: dict[str, str] = LABELS, **data: str) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "demo", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest_asyncio.fixture
async def api(kubernetes: FakeKubernetes, tmp_path: Path) -> AsyncIterator[Api]:
    api = await connect(kubernetes.kubeconfig(tmp_path))
    yield api
    await api.close()


async def test_one_of_ours_is_made_changed_and_removed(kubernetes: FakeKubernetes, api: Api) -> None:
    await ours.check(api, MAPS, config_map(x="1"))
    assert not kubernetes.holds(f"{MAPS}/a")
    await ours.change(api, MAPS, config_map(x="1"))
    await ours.change(api, MAPS, config_map(y="2"))
    await ours.make(api, MAPS, config_map(x="3"))
    await ours.check(api, MAPS, config_map(x="1"))
    assert kubernetes.object(f"{MAPS}/a")["data"] == {"x": "3", "y": "2"}
    await ours.remove(api, MAPS, "a", LABELS)
    await ours.remove(api, MAPS, "a", LABELS)
    assert not kubernetes.holds(f"{MAPS}/a")


@pytest.mark.parametrize(
    "labels", [{}, {"app.kubernetes.io/managed-by": "llm-bot"}, {**LABELS, "a/b~c": "x"}]
)
async def test_one_of_others_is_left_alone(
    kubernetes: FakeKubernetes, api: Api, labels: dict[str, str]
) -> None:
    theirs = await kubernetes.put(MAPS, config_map(labels, x="theirs"))
    for write in (ours.check, ours.make, ours.change):
        with pytest.raises(ours.NotOurs) as refused:
            await write(api, MAPS, config_map(x="ours"))
        assert refused.value.text.params == {"kind": "ConfigMap", "object": "a", "namespace": "demo"}
    await ours.remove(api, MAPS, "a", LABELS)
    assert kubernetes.object(f"{MAPS}/a") == theirs


async def test_a_change_that_the_api_server_refuses_does_not_make_it_another_ones(
    kubernetes: FakeKubernetes, api: Api
) -> None:
    broken = config_map(x="1")
    del broken["data"]  # nothing can be added to what is not there
    await kubernetes.put(MAPS, broken)
    with pytest.raises(UserError) as refused:
        await ours.change(api, MAPS, config_map(x="2"))
    assert refused.value.text.key == "error.api_refused"


async def test_two_keys_of_a_pointer_are_not_mixed_up() -> None:
    assert ours.pointer("a/b~1") == "a~1b~01"
