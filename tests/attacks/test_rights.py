"""What the bot's account may do: what the bot uses, and nothing else in the hands of somebody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
import yaml

from bot import __version__
from bot.app.engines import ENGINE
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.client import Api, ApiError, connect
from bot.cluster.lease import lease_leadership
from bot.cluster.manifests import WorkloadSettings
from bot.cluster.rights import examine
from bot.core.chat.errors import Changed
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec, Workload
from tests.conftest import PATIENCE, Say, eventually
from tests.real.bot_rights import ROOT
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, real_world

Json = dict[str, Any]
RECORD = Record(owner="ada", owner_name="ada", start_requested_at=datetime(2030, 1, 1, tzinfo=UTC))
SPEC = Spec(name="tiny", model="tinyllama", repo="org/tiny", max_model_len=2048)
ROLE: Json = next(yaml.safe_load_all((ROOT / "manifests" / "bot" / "role.yaml").read_text()))
CLUSTER_ROLE: Json = next(yaml.safe_load_all((ROOT / "manifests" / "bot" / "cluster-role.yaml").read_text()))


class Granted(NamedTuple):
    """One verb on one kind of objects, or on one object."""

    resource: str
    """With its subresource after a slash."""
    verb: str
    name: str = ""


def granted(role: Json) -> list[Granted]:
    return [
        Granted(resource, verb, name)
        for rule in role["rules"]
        for resource, verb, name in product(rule["resources"], rule["verbs"], rule.get("resourceNames", [""]))
    ]


def without(role: Json, taken: Granted) -> Json:
    """The Role without this."""
    rules: list[Json] = []
    for rule in role["rules"]:
        for resource, verb, name in product(
            rule["resources"], rule["verbs"], rule.get("resourceNames", [""])
        ):
            if Granted(resource, verb, name) != taken:
                named = {"resourceNames": [name]} if name else {}
                rules.append({**rule, "resources": [resource], "verbs": [verb]} | named)
    return role | {"rules": rules}


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    host = "chat.example.org"
    async with real_world(control_plane, tmp_path, hf_token="hf", ingress_host=host) as world:
        yield world


@pytest_asyncio.fixture
async def thief(world: RealWorld) -> AsyncIterator[Api]:
    """Somebody with the token of the bot's account."""
    api = await connect(str(world.kubeconfig))
    yield api
    await api.close()


def settings(world: RealWorld) -> WorkloadSettings:
    return WorkloadSettings(namespace=world.namespace)


async def story(world: RealWorld) -> None:
    """All that the bot does on a cluster."""
    cluster = world.cluster
    await led(world)
    assert [one async for one in examine(str(world.kubeconfig), settings(world), ENGINE)]
    world.kubelet.behave["llm-tiny"] = "evict"
    await cluster.create(SPEC, RECORD)
    await eventually(lambda: world.kubelet.evicted and find(world).phase is Phase.READY)
    assert (await cluster.endpoint("tiny")).api_key and await cluster.logs("tiny", 10)
    await cluster.cache_on_one_node()
    await cluster.apply_web_ui(["tiny"], "ada")
    for text in ("one", "two"):
        await cluster.save_state(text)
    assert await cluster.load_state() == "two"
    await cluster.complete("tiny")
    with pytest.raises(Changed):
        await cluster.scale("tiny", 0, version="1")
    await remove_evicted(world)
    await cluster.apply_web_ui([], "ada")
    await eventually(lambda: (page := cluster.web_ui()) and page.ready)
    await cluster.remove_web_ui()
    await cluster.scale("tiny", 0)
    await cluster.change(SPEC.model_copy(update={"max_model_len": 1024}), RECORD, awake=True)
    await cluster.create(SPEC.model_copy(update={"name": "second"}), RECORD)  # the token is there already
    await cluster.remove("tiny")


def find(world: RealWorld) -> Workload:
    [workload] = world.cluster.workloads()
    return workload


async def nothing() -> None:
    """A job that goes on."""
    await asyncio.Event().wait()


async def led(world: RealWorld) -> None:
    """Until the Lease has been renewed."""
    async with lease_leadership(str(world.kubeconfig), world.namespace, guest=False) as leadership:
        leading = asyncio.create_task(leadership.lead(nothing, nothing))
        try:
            path = f"/apis/coordination.k8s.io/v1/namespaces/{world.namespace}/leases/llm-bot"
            async with asyncio.timeout(PATIENCE):
                while not await renewed(world.admin, path):
                    await asyncio.sleep(0.2)
        finally:
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)


async def renewed(api: Api, path: str) -> bool:
    with suppress(ApiError):
        spec = (await api.request("GET", path))["spec"]
        return bool(spec.get("renewTime") != spec.get("acquireTime"))
    return False


async def remove_evicted(world: RealWorld) -> None:
    """Until the dead pod is gone, and the one in its place is left."""
    async with asyncio.timeout(PATIENCE):
        while len(await world.pods("tiny")) > 1:
            await world.cluster.remove_dead_pods("tiny")
            await asyncio.sleep(0.1)


def used(world: RealWorld) -> set[Granted]:
    """What the bot's account was allowed to do, by the API server's own record."""
    who, found = f"system:serviceaccount:{world.namespace}:llm-bot", set()
    for request in world.plane.requests():
        about = request.get("objectRef", {})
        if request["user"]["username"] == who and request["responseStatus"]["code"] < 400:
            kind = "/".join(filter(None, (about.get("resource", ""), about.get("subresource"))))
            verb = request["verb"]
            if request["responseStatus"]["code"] == 201 and verb == "patch":  # an apply that created it
                found.add(Granted(kind, "create"))
            found |= {Granted(kind, verb), Granted(kind, verb, about.get("name", ""))}
    return found


async def test_kind_12_each_right_is_used_and_none_is_missing(world: RealWorld) -> None:
    await story(world)
    needed = {*granted(ROLE), *granted(CLUSTER_ROLE)}
    assert needed - used(world) == set()


async def test_kind_12_doctor_names_each_right_that_is_taken_away(world: RealWorld, say: Say) -> None:
    everywhere = granted(CLUSTER_ROLE)
    for taken in granted(ROLE):
        if taken in everywhere:  # nothing is missing as long as there is the ClusterRole
            continue
        role = without(ROLE, taken) | {"metadata": {"name": "llm-bot", "namespace": world.namespace}}
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}/roles/llm-bot"
        await world.admin.request("PUT", path, role)
        expected = f"not allowed to {taken.verb} {taken.resource} {taken.name}".rstrip()
        async with asyncio.timeout(PATIENCE):
            while await missing(world, say) != [expected]:  # the authorizer takes a moment to see it
                await asyncio.sleep(0.1)


async def missing(world: RealWorld, say: Say) -> list[str]:
    """Rights that `doctor` finds missing."""
    findings = [one async for one in examine(str(world.kubeconfig), settings(world), ENGINE)]
    return [say(text).partition(":")[0] for _, text, _ in findings if text.key == "doctor.right_missing"]


SECRETS = "/api/v1/namespaces/{ns}/secrets"
BEYOND = {
    "list secrets": ("GET", SECRETS),
    "watch secrets": ("GET", SECRETS + "?watch=1"),
    "list secrets by name": (
        "GET",
        SECRETS + "?fieldSelector=metadata.name%3Dsomebodys",
    ),
    "secrets everywhere": ("GET", "/api/v1/secrets"),
    "read another's secret": ("GET", SECRETS + "/somebodys"),
    "read a model's key": ("GET", SECRETS + "/{model}"),
    "read the hf token": ("GET", SECRETS + "/llm-hf-token"),
    "read by an empty patch": ("PATCH", SECRETS + "/somebodys"),
    "read a key by a patch": ("PATCH", SECRETS + "/{model}"),
    "change the bot's key": ("PATCH", SECRETS + "/llm-bot-key"),
    "delete a secret": ("DELETE", SECRETS + "/somebodys"),
    "another bot's key": ("GET", "/api/v1/namespaces/default/secrets/llm-bot-key"),
    "make a token": ("POST", "/api/v1/namespaces/{ns}/serviceaccounts/default/token"),
    "make an account": ("POST", "/api/v1/namespaces/{ns}/serviceaccounts"),
    "make a pod": ("POST", "/api/v1/namespaces/{ns}/pods"),
    "a pod elsewhere": ("DELETE", "/api/v1/namespaces/default/pods/x"),
    "a log elsewhere": ("GET", "/api/v1/namespaces/default/pods/x/log"),
    "into a pod": ("POST", "/api/v1/namespaces/{ns}/pods/x/exec"),
    "a deployment elsewhere": ("POST", "/apis/apps/v1/namespaces/default/deployments"),
    "a volume": ("DELETE", "/api/v1/namespaces/{ns}/persistentvolumeclaims/llm-models"),
    "another's config map": ("GET", "/api/v1/namespaces/{ns}/configmaps/kube-root-ca.crt"),
    "another's lease": ("PUT", "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases/somebodys"),
    "another's ingress": ("PATCH", "/apis/networking.k8s.io/v1/namespaces/{ns}/ingresses/somebodys"),
    "a node": ("PATCH", "/api/v1/nodes/icc-gpu-1"),
    "its own role": ("PATCH", "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles/llm-bot"),
    "a role": ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles"),
    "a binding": ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings"),
    "a policy": (
        "DELETE",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/llm-bot-secrets",
    ),
    "a network policy": ("DELETE", "/apis/networking.k8s.io/v1/namespaces/{ns}/networkpolicies/llm-models"),
}
"""Requests of somebody who has the token of the bot's account, each of which would give or break a thing."""


async def test_kind_12_the_bots_token_does_nothing_beyond(world: RealWorld, thief: Api) -> None:
    await world.cluster.create(SPEC, RECORD)
    path = f"/api/v1/namespaces/{world.namespace}/secrets"
    theirs = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "somebodys"},
        "stringData": {"a": "b"},
    }
    await world.admin.request("POST", path, theirs | {"apiVersion": "v1"})
    [model] = [name for name in await world.names("secrets") if name.startswith("llm-tiny-")]
    done = {}
    for what, (method, template) in BEYOND.items():
        patch = "application/merge-patch+json" if method == "PATCH" else "application/json"
        body: Json | None = {} if method in ("PATCH", "POST", "PUT") else None
        try:
            asked = template.format(ns=world.namespace, model=model)
            done[what] = json.dumps(await thief.request(method, asked, body, None, patch))
        except ApiError as error:
            if error.status != 403 or error.text.key != "error.forbidden":
                done[what] = f"{error.status} {error.text}"
    assert done == {}


async def test_kind_12_a_command_that_lacks_a_right_says_which(
    world: RealWorld, tmp_path: Path, say: Say
) -> None:
    taken = Granted("secrets", "get", "llm-bot-key")
    role = without(ROLE, taken) | {"metadata": {"name": "llm-bot", "namespace": world.namespace}}
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}/roles/llm-bot"
    await world.admin.request("PUT", path, role)
    async with asyncio.timeout(PATIENCE):
        while not await missing(world, say):
            await asyncio.sleep(0.1)
    async with KubernetesCluster(str(world.kubeconfig), settings(world), "http://x", ENGINE) as cluster:
        with pytest.raises(ApiError) as refused:
            await cluster.create(SPEC, RECORD)
    assert say(refused.value.text).startswith("I am not allowed to get secrets in namespace ")
    assert "llm-tiny" not in await world.names("deployments")


async def test_doctor_warns_of_images_that_only_a_tag_names(world: RealWorld, say: Say) -> None:
    findings = [one async for one in examine(str(world.kubeconfig), settings(world), ENGINE)]
    said = {say(text): (level, say(todo) if todo else "") for level, text, todo in findings}
    tagged, pinned = settings(world).image, settings(world).open_webui_image
    level, todo = said[f"what the tag of the image {tagged} names can be changed by others"]
    assert (
        level == "warn" and f"imagetools inspect {tagged} prints its digest" in todo and "VLLM_IMAGE" in todo
    )
    assert said[f"the image {pinned} is named by its digest"] == ("ok", "")
    level, todo = said["what the tag of the image llm-bot:" + __version__ + " names can be changed by others"]
    assert level == "warn" and todo.endswith("manifests/bot/kustomization.yaml")


async def test_doctor_names_a_storage_class_that_is_not_there(world: RealWorld, say: Say) -> None:
    wrong = WorkloadSettings(namespace=world.namespace, storage_class="nope")
    findings = [one async for one in examine(str(world.kubeconfig), wrong, ENGINE)]
    assert ("warn", "there is no StorageClass nope, which STORAGE_CLASS names") in [
        (level, say(text)) for level, text, _ in findings
    ]
