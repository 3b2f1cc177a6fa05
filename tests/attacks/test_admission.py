"""What the bot's account may put into objects, if somebody else has its token: only what the bot makes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from bot.app.engines import ENGINE
from bot.cluster import web_ui
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.client import Api, ApiError, connect
from bot.cluster.manifests import ApiKey, WorkloadSettings, workload_objects
from bot.core.chat.errors import UserError
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec
from tests.conftest import PATIENCE, Say, eventually
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, real_world

Json = dict[str, Any]
RECORD = Record(owner="ada", owner_name="ada", start_requested_at=datetime(2030, 1, 1, tzinfo=UTC))
SPEC = Spec(name="tiny", model="tinyllama", repo="org/tiny", max_model_len=2048)
KEY = ApiKey("llm-tiny-0123456789abcdef0123", "key")
LABEL = "app.kubernetes.io/managed-by"
DRY = {"dryRun": "All"}
GROUPS = {"Deployment": "/apis/apps/v1", "Ingress": "/apis/networking.k8s.io/v1"}
PLURALS = {"Ingress": "ingresses"}


class Attack(NamedTuple):
    """One object of the bot's, changed."""

    kind: str
    change: Callable[[Json], object]
    sentence: str


def pod(deployment: Json) -> Json:
    found: Json = deployment["spec"]["template"]["spec"]
    return found


def container(deployment: Json) -> Json:
    found: Json = pod(deployment)["containers"][0]
    return found


def reads(secret: str) -> Json:
    return {"name": "X", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}


UNLABELLED = "what the bot makes carries its label"
TYPE = "the bot makes Secrets of type Opaque alone"
NODE = "the bot's pods have no part in their node's network or processes"
VOLUMES = "the bot's pods mount the volumes llm-models and llm-webui, ConfigMaps and empty folders alone"
SECRETS = "the bot's pods read the Secrets that are theirs alone"
ROOT = "the bot's pods run without root, capabilities and privileges"
IMAGES = "the image is none of those that the policy names"
REACHABLE = "the bot's Services are reachable in the cluster alone"
LEAD = "the bot's Services lead to the pods of their own name"
TOKEN_OF = {"kubernetes.io/service-account.name": "default"}
INIT = {"name": "init", "image": "vllm/vllm-openai:v0.8.5.post1"}
PROJECTED = {"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
ATTACKS = {
    "token": Attack(
        "Secret",
        lambda s: (
            s.update(type="kubernetes.io/service-account-token"),
            s["metadata"].update(annotations=TOKEN_OF),
        ),
        TYPE,
    ),
    "bootstrap": Attack("Secret", lambda s: s.update(type="bootstrap.kubernetes.io/token"), TYPE),
    "unlabelled-secret": Attack("Secret", lambda s: s["metadata"].pop("labels"), UNLABELLED),
    "unlabelled": Attack("Deployment", lambda d: d["metadata"].pop("labels"), UNLABELLED),
    "others-label": Attack("Service", lambda s: s["metadata"]["labels"].update({LABEL: "helm"}), UNLABELLED),
    "account": Attack(
        "Deployment",
        lambda d: pod(d).update(serviceAccountName="llm-bot"),
        "the bot's pods have no ServiceAccount of their own",
    ),
    "automount": Attack(
        "Deployment",
        lambda d: pod(d).pop("automountServiceAccountToken"),
        "the bot's pods get no ServiceAccount token",
    ),
    "projected": Attack("Deployment", lambda d: pod(d)["volumes"].append(PROJECTED), VOLUMES),
    "host-path": Attack(
        "Deployment",
        lambda d: pod(d)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        VOLUMES,
    ),
    "others-volume": Attack(
        "Deployment",
        lambda d: pod(d)["volumes"].append(
            {"name": "x", "persistentVolumeClaim": {"claimName": "somebodys"}}
        ),
        VOLUMES,
    ),
    "secret-volume": Attack(
        "Deployment",
        lambda d: pod(d)["volumes"].append({"name": "x", "secret": {"secretName": "somebodys"}}),
        VOLUMES,
    ),
    "others-secret": Attack("Deployment", lambda d: container(d)["env"].append(reads("somebodys")), SECRETS),
    "bot-key": Attack("Deployment", lambda d: container(d)["env"].append(reads("llm-bot-key")), SECRETS),
    "all-of-a-secret": Attack(
        "Deployment",
        lambda d: container(d).update(envFrom=[{"secretRef": {"name": "somebodys"}}]),
        SECRETS,
    ),
    "host-network": Attack("Deployment", lambda d: pod(d).update(hostNetwork=True), NODE),
    "host-pid": Attack("Deployment", lambda d: pod(d).update(hostPID=True), NODE),
    "host-port": Attack("Deployment", lambda d: container(d)["ports"][0].update(hostPort=8000), NODE),
    "privileged": Attack(
        "Deployment",
        lambda d: container(d)["securityContext"].update(privileged=True, allowPrivilegeEscalation=True),
        ROOT,
    ),
    "capability": Attack(
        "Deployment",
        lambda d: container(d)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
        ROOT,
    ),
    "root": Attack("Deployment", lambda d: container(d)["securityContext"].update(runAsUser=0), ROOT),
    "root-pod": Attack("Deployment", lambda d: pod(d)["securityContext"].pop("runAsNonRoot"), ROOT),
    "init": Attack("Deployment", lambda d: pod(d).update(initContainers=[INIT]), ROOT),
    "image": Attack("Deployment", lambda d: container(d).update(image="evil/vllm-openai:v1"), IMAGES),
    "image-beside": Attack(
        "Deployment", lambda d: container(d).update(image="vllm/vllm-openai-evil:v1"), IMAGES
    ),
    "node-port": Attack("Service", lambda s: s["spec"].update(type="NodePort"), REACHABLE),
    "load-balancer": Attack("Service", lambda s: s["spec"].update(type="LoadBalancer"), REACHABLE),
    "external-name": Attack(
        "Service", lambda s: s["spec"].update(type="ExternalName", externalName="example.org"), REACHABLE
    ),
    "external-ip": Attack("Service", lambda s: s["spec"].update(externalIPs=["192.0.2.1"]), REACHABLE),
    "others-pods": Attack("Service", lambda s: s["spec"].update(selector={"app": "somebodys"}), LEAD),
    "no-selector": Attack("Service", lambda s: s["spec"].pop("selector"), LEAD),
    "others-service": Attack(
        "Ingress",
        lambda i: i["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(name="kubernetes"),
        "the bot's Ingress leads to Open WebUI alone",
    ),
}


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path, hf_token="hf") as world:
        yield world


@pytest_asyncio.fixture
async def thief(world: RealWorld) -> AsyncIterator[Api]:
    """Somebody with the token of the bot's account."""
    api = await connect(str(world.kubeconfig))
    yield api
    await api.close()


def collection(world: RealWorld, kind: str) -> str:
    plural = PLURALS.get(kind, f"{kind.lower()}s")
    return f"{GROUPS.get(kind, '/api/v1')}/namespaces/{world.namespace}/{plural}"


def objects(world: RealWorld) -> dict[str, Json]:
    """Those of a model, and Open WebUI's Ingress."""
    settings = WorkloadSettings(namespace=world.namespace, ingress_host="chat.example.org")
    made = deepcopy(workload_objects(SPEC, RECORD, settings, ENGINE, KEY))
    return made | {"Ingress": deepcopy(web_ui.objects({}, "ada", settings, "key")["Ingress"])}


async def refusal(api: Api, method: str, path: str, body: Json | None = None, **query: str) -> str:
    """Why it was refused; empty if it was not."""
    patch = "application/merge-patch+json" if method == "PATCH" else "application/json"
    try:
        await api.request(method, path, body, DRY | query, patch)
    except ApiError as error:
        return json.dumps(error.text.params, default=str)
    return ""


async def in_force(world: RealWorld, thief: Api) -> None:
    """The API server takes a moment to see new policies: until it has seen the last."""
    for attack in (ATTACKS["others-service"], ATTACKS["image"], ATTACKS["token"], ATTACKS["node-port"]):
        await refused_as(world, thief, attack)


async def refused_as(world: RealWorld, thief: Api, attack: Attack) -> None:
    body = objects(world)[attack.kind]
    attack.change(body)
    async with asyncio.timeout(PATIENCE):
        while attack.sentence not in await refusal(thief, "POST", collection(world, attack.kind), body):
            await asyncio.sleep(0.1)


async def test_kind_12_whoever_has_the_bots_token_makes_nothing_but_what_the_bot_makes(
    world: RealWorld, thief: Api
) -> None:
    await in_force(world, thief)
    for kind, body in objects(world).items():
        assert await refusal(thief, "POST", collection(world, kind), body) == "", kind
    said = {}
    for name, attack in ATTACKS.items():
        body = objects(world)[attack.kind]
        attack.change(body)
        said[name] = await refusal(thief, "POST", collection(world, attack.kind), body)
    assert {name: text for name, text in said.items() if ATTACKS[name].sentence not in text} == {}


async def test_kind_12_what_others_made_is_neither_changed_nor_removed(world: RealWorld, thief: Api) -> None:
    await in_force(world, thief)
    theirs = objects(world)
    del theirs["PersistentVolumeClaim"]  # the bot may not change one at all
    theirs["Service"]["spec"]["selector"] = {"llm-bot/workload": "llm-theirs"}  # only whose it is is wrong
    for kind, body in theirs.items():
        body["metadata"] |= {"name": "llm-webui" if kind == "Ingress" else "llm-theirs", "labels": {}}
        await world.admin.request("POST", collection(world, kind), body)
    alike = {**theirs, "Secret": theirs["Secret"] | {"metadata": {"name": "llm-webui", "labels": {}}}}
    await world.admin.request("POST", collection(world, "Secret"), alike["Secret"])
    adopt = {"metadata": {"labels": {LABEL: "llm-bot"}}}
    for kind, body in alike.items():
        path = f"{collection(world, kind)}/{body['metadata']['name']}"
        for method, change in (("PATCH", adopt), ("PATCH", {}), ("DELETE", None)):
            said = await refusal(thief, method, path, change)
            assert "carries its label" in said or '"verb": "delete"' in said, (kind, method, said)
    own = f"{collection(world, 'Deployment')}/llm-bot"
    assert "carries its label" in await refusal(thief, "PATCH", own, {"spec": {"replicas": 0}})


async def test_kind_12_a_change_is_looked_at_like_a_creation(world: RealWorld, thief: Api) -> None:
    await in_force(world, thief)
    await world.cluster.create(SPEC, RECORD)
    path = f"{collection(world, 'Deployment')}/llm-tiny"
    template = {"spec": {"template": {"spec": {"hostNetwork": True}}}}
    assert NODE in await refusal(thief, "PATCH", path, template)
    service = f"{collection(world, 'Service')}/llm-tiny"
    assert REACHABLE in await refusal(thief, "PATCH", service, {"spec": {"type": "NodePort"}})


async def test_everything_runs_where_pod_security_is_enforced(world: RealWorld) -> None:
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    world.plane.kubectl("label", "namespace", world.namespace, enforce)
    naked = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    naked |= {"spec": {"containers": [{"name": "x", "image": "x"}]}}
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    async with asyncio.timeout(PATIENCE):
        while "violates PodSecurity" not in await refusal(world.admin, "POST", pods, naked):
            await asyncio.sleep(0.1)
    before = await world.names("pods")
    world.plane.kubectl("delete", "pods", "--all", "--wait=false", "-n", world.namespace)
    await world.cluster.create(SPEC, RECORD)
    await world.cluster.apply_web_ui(["tiny"], "ada")
    await eventually(lambda: [w.phase for w in world.cluster.workloads()] == [Phase.READY])
    await eventually(lambda: (page := world.cluster.web_ui()) and page.ready)
    async with asyncio.timeout(PATIENCE):
        while not any(name.startswith("llm-bot-") for name in {*await world.names("pods")} - {*before}):
            await asyncio.sleep(0.1)


async def test_what_an_older_version_made_can_be_put_to_sleep(world: RealWorld, thief: Api) -> None:
    await in_force(world, thief)
    old = objects(world)["Deployment"]
    del pod(old)["securityContext"], container(old)["securityContext"]
    container(old)["image"] = "registry.example.org/vllm:old"
    await world.admin.request("POST", collection(world, "Deployment"), old)
    await eventually(lambda: world.cluster.find("tiny"))
    await world.cluster.scale("tiny", 0)
    await eventually(lambda: [w.phase for w in world.cluster.workloads()] == [Phase.ASLEEP])


async def test_a_refusal_is_a_sentence_in_the_chat(world: RealWorld, thief: Api, say: Say) -> None:
    await in_force(world, thief)
    settings = WorkloadSettings(namespace=world.namespace, image="registry.example.org/vllm:x")
    async with KubernetesCluster(str(world.kubeconfig), settings, "http://x", ENGINE) as cluster:
        with pytest.raises(UserError) as refused:
            await cluster.create(SPEC, RECORD)
    assert say(refused.value.text) == (
        "The cluster's policy llm-bot-pods refused it: the image is none of those that the policy names. "
        "An admin can change that policy."
    )
    assert "llm-tiny" not in await world.names("deployments")
