"""For attacks on what the bot writes: the real API server, and what is stored there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from bot.app.engines import ENGINE
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.manifests import WorkloadSettings
from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.ports import Engine
from tests.conftest import PATIENCE, Chat
from tests.real.world import RealWorld

Json = dict[str, Any]
STARTED = datetime(2030, 1, 1, 12, tzinfo=UTC)
RECORD = Record(owner="ada", owner_name="ada", start_requested_at=STARTED)
PLACE = Place("test", "C1", "1.0")
Write = Callable[[KubernetesCluster], Coroutine[Any, Any, None]]


def spec(name: str = "tiny", **more: Any) -> Spec:
    return Spec(**({"name": name, "model": name, "repo": f"org/{name}", "max_model_len": 2048} | more))


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


async def its_secret(world: RealWorld, name: str = "llm-tiny") -> Json:
    """The Secret that the pods of a Deployment have their key from."""
    [container] = (await stored(world, "deployments", name))["spec"]["template"]["spec"]["containers"]
    [variable] = [variable for variable in container["env"] if variable["name"] == "VLLM_API_KEY"]
    return await stored(world, "secrets", variable["valueFrom"]["secretKeyRef"]["name"])


async def with_key(world: RealWorld) -> RealWorld:
    """The bot has its own key: a deployment needs no other request than those that are its own."""
    await world.cluster.create(spec("first"), RECORD)
    await world.cluster.remove("first")
    return world


def only(cluster: KubernetesCluster) -> Workload:
    [workload] = cluster.workloads()
    return workload


async def until_asked(true: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Wait for what only the API server knows."""
    async with asyncio.timeout(PATIENCE):
        while not await true():
            await asyncio.sleep(0.1)


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


async def is_so(asked: Coroutine[Any, Any, object], expected: object) -> bool:
    return await asked == expected
