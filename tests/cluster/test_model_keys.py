"""API keys that are derived: the same in every process, and known to be unknown."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.cluster.adapter import KubernetesCluster
from bot.cluster.client import Api, connect
from bot.cluster.manifests import WorkloadSettings
from bot.cluster.model_keys import ModelKeys
from bot.core.chat.errors import UserError
from bot.engines.vllm.engine import Vllm
from tests.cluster.objects import RECORD, SETTINGS, deployment, spec
from tests.conftest import Say, eventually
from tests.fakes.kubernetes import FakeKubernetes

CORE = "/api/v1/namespaces/demo"
DEPLOYMENTS = "/apis/apps/v1/namespaces/demo/deployments"
DEPLOYMENT = f"{DEPLOYMENTS}/llm-tiny"
BOT_KEY = f"{CORE}/secrets/llm-bot-key"
Json = dict[str, Any]


@pytest_asyncio.fixture
async def api(kubernetes: FakeKubernetes, tmp_path: Path) -> AsyncIterator[Api]:
    api = await connect(kubernetes.kubeconfig(tmp_path))
    yield api
    await api.close()


@asynccontextmanager
async def bot(
    kubernetes: FakeKubernetes, folder: Path, settings: WorkloadSettings = SETTINGS
) -> AsyncIterator[KubernetesCluster]:
    """One process."""
    async with KubernetesCluster(kubernetes.kubeconfig(folder), settings, "http://x", Vllm()) as cluster:
        yield cluster


def keys(api: Api, settings: WorkloadSettings = SETTINGS) -> ModelKeys:
    """As another process has them."""
    return ModelKeys(api, settings, Vllm())


def with_secret(secret: str) -> Json:
    """A Deployment whose pods have their key from this Secret."""
    made = deployment("tiny")
    for variable in made["spec"]["template"]["spec"]["containers"][0]["env"]:
        if variable["name"] == "VLLM_API_KEY":
            variable["valueFrom"]["secretKeyRef"]["name"] = secret
    return made


def secrets_of_tiny(kubernetes: FakeKubernetes) -> Iterator[str]:
    return (name for name in kubernetes.names(f"{CORE}/secrets") if name.startswith("llm-tiny"))


def key_in(kubernetes: FakeKubernetes, secret: str) -> str:
    return base64.b64decode(kubernetes.object(f"{CORE}/secrets/{secret}")["data"]["api-key"]).decode()


async def test_processes_that_begin_at_once_have_one_key_and_derive_the_same(
    kubernetes: FakeKubernetes, api: Api
) -> None:
    processes = [keys(api) for _ in range(8)]
    made = await asyncio.gather(*(each.make("llm-tiny") for each in processes))
    assert len({key.value for key in made}) == len({key.secret for key in made}) == 8
    found = [await each.find(with_secret(key.secret)) for key in made for each in (*processes, keys(api))]
    assert {key.value for key in found if key} == {key.value for key in made} and None not in found
    assert kubernetes.names(f"{CORE}/secrets") == ["llm-bot-key"]
    assert len(base64.b64decode(kubernetes.object(BOT_KEY)["data"]["key"])) >= 32


async def test_keys_differ_by_deployment_and_namespace_and_give_nothing_away(
    kubernetes: FakeKubernetes, api: Api
) -> None:
    first = await keys(api).make("llm-tiny")
    held = kubernetes.object(BOT_KEY)
    elsewhere = replace(SETTINGS, namespace="other")
    path = "/api/v1/namespaces/other/secrets"
    await kubernetes.put(path, {"metadata": {"name": "llm-bot-key"}, "data": held["data"]})
    assert await keys(api, elsewhere).find(with_secret(first.secret)) is None  # another namespace's name
    assert await keys(api).find(with_secret(first.secret.replace("tiny", "other"))) is None
    assert first.value[:8] not in first.secret and len(first.value) == 43


@pytest.mark.parametrize("secret", ["llm-tiny", "llm-tiny-0123456789abcdef0123", "", "x-", "-" * 20])
async def test_a_secret_that_nobody_made_with_this_key_is_unknown(api: Api, secret: str) -> None:
    assert await keys(api).find(with_secret(secret)) is None


async def test_the_key_of_the_settings_is_every_models_and_its_change_is_noticed(
    kubernetes: FakeKubernetes, tmp_path: Path, api: Api
) -> None:
    async with bot(kubernetes, tmp_path, replace(SETTINGS, api_key="given")) as cluster:
        await cluster.create(spec(), RECORD)
        assert (await cluster.endpoint("tiny")).api_key == "given"
        [secret] = secrets_of_tiny(kubernetes)
        assert key_in(kubernetes, secret) == "given"
    for other in (SETTINGS, replace(SETTINGS, api_key="another")):
        assert await keys(api, other).find(with_secret(secret)) is None


async def test_a_model_of_an_older_version_runs_on_and_gets_its_key_when_it_starts_again(
    kubernetes: FakeKubernetes, tmp_path: Path, say: Say
) -> None:
    await kubernetes.put(DEPLOYMENTS, with_secret("llm-tiny"))
    old = {"metadata": {"name": "llm-tiny"}, "stringData": {"api-key": "random"}}
    await kubernetes.put(f"{CORE}/secrets", old)
    async with bot(kubernetes, tmp_path) as cluster:
        with pytest.raises(UserError) as unknown:
            await cluster.endpoint("tiny")
        assert "/llm sleep tiny" in say(unknown.value.text)
        await cluster.complete("tiny")
        assert key_in(kubernetes, "llm-tiny") == "random"  # what its pods have
        await cluster.scale("tiny", 2)  # a pod more, and none starts anew
        assert list(secrets_of_tiny(kubernetes)) == ["llm-tiny"]
        await cluster.scale("tiny", 0)
        await cluster.scale("tiny", 1, last_nodes=("gpu-1",))
        [workload] = cluster.workloads()
        assert (
            workload.record.last_nodes == ("gpu-1",)
            and kubernetes.object(DEPLOYMENT)["spec"]["replicas"] == 1
        )
        _, fresh = secrets_of_tiny(kubernetes)
        assert (await cluster.endpoint("tiny")).api_key == key_in(kubernetes, fresh) != "random"
        [owner] = kubernetes.object(f"{CORE}/secrets/{fresh}")["metadata"]["ownerReferences"]
        assert owner["uid"] == kubernetes.object(DEPLOYMENT)["metadata"]["uid"]
        await cluster.scale("tiny", 0)
        await cluster.scale("tiny", 1)
        assert len(list(secrets_of_tiny(kubernetes))) == 2  # the key stays


async def test_open_webui_is_connected_again_when_a_key_has_changed(
    kubernetes: FakeKubernetes, tmp_path: Path
) -> None:
    await kubernetes.put(DEPLOYMENTS, with_secret("llm-tiny"))
    async with bot(kubernetes, tmp_path) as cluster:
        await cluster.apply_web_ui(["tiny"], "ada")
        shown = cluster.web_ui()
        assert shown and shown.connected == ("tiny",)
        await cluster.scale("tiny", 0)
        await cluster.scale("tiny", 1)
        await eventually(lambda: (shown := cluster.web_ui()) and shown.connected == ())
        await cluster.apply_web_ui(["tiny"], "ada")
        held = kubernetes.object(f"{CORE}/secrets/llm-webui")["data"]["openai-keys"]
        assert base64.b64decode(held).decode() == (await cluster.endpoint("tiny")).api_key
        shown = cluster.web_ui()
        assert shown and shown.connected == ("tiny",)


@pytest.mark.parametrize("data", [{}, {"key": ""}, {"key": base64.b64encode(b"short").decode()}])
async def test_a_secret_that_holds_no_key_is_named(
    kubernetes: FakeKubernetes, api: Api, say: Say, data: Json
) -> None:
    await kubernetes.put(f"{CORE}/secrets", {"metadata": {"name": "llm-bot-key"}, "data": data})
    with pytest.raises(UserError) as none:
        await keys(api).make("llm-tiny")
    assert say(none.value.text).startswith("The Secret llm-bot-key in namespace demo holds no key.")
