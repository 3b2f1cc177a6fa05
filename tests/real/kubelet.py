"""A kubelet for tests: nodes with GPUs, pods that get ready or fail on demand, and their logs over TLS."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.cluster.client import MERGE_PATCH, Api, ApiError
from bot.core.chat.errors import UserError
from tests.real.vllm import Ended

Json = dict[str, Any]
LOG = [
    "INFO 11-23 10:00:00 [__init__.py:239] Automatically detected platform cuda.",
    "INFO 11-23 10:00:05 [model_runner.py:1108] Starting to load model x...",
    "Loading safetensors checkpoint shards: 50% Completed | 1/2 [00:01<00:01]",
]
Launch = Callable[[Json, Callable[[str], None]], Awaitable[Callable[[], Awaitable[None]]]]
"""Really start a pod's container: takes the pod and where to log, returns how to end it."""


def stamp() -> str:
    """Now, as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kubelet:
    """`behave` maps a workload's object name to `crash`, `oom`, `image`, `mount`, `evict`, `linger` (a pod
    that does not end) or `hold`; else it gets ready. Nodes in `dead` do not answer. With `launch` the
    container is a real process on this machine."""

    def __init__(self, api: Api, folder: Path, launch: Launch | None = None) -> None:
        self.behave: dict[str, str] = {}
        self.launch = launch
        self.dead: set[str] = set()
        self.evicted = False
        self.logs: dict[str, list[str]] = {}
        self._api = api
        self._folder = folder
        self._pods: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, Callable[[], Awaitable[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._nodes: list[str] = []

    async def start(self, nodes: dict[str, int]) -> None:
        """Register nodes with so many GPUs each, and look after their pods."""
        port = await self._serve_logs()
        for name, gpus in nodes.items():
            await self._register(name, gpus, port)
            self._nodes.append(name)
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._heartbeat())]

    async def stop(self) -> None:
        """Leave the nodes as they are."""
        for end in list(self._ends.values()):
            await end()
        for task in (*self._tasks, *self._pods.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._pods.values(), return_exceptions=True)
        await self._runner.cleanup()

    async def _register(self, name: str, gpus: int, port: int) -> None:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"gpu": "v100"}},
            "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}] if gpus else []},
        }
        with suppress(UserError):
            await self._api.request("POST", "/api/v1/nodes", node)
        capacity = {"cpu": "8000", "memory": "64Ti", "pods": "1000", "nvidia.com/gpu": str(gpus)}
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "conditions": [_condition("Ready", True)],
        }
        path = f"/api/v1/nodes/{name}/status"
        await self._api.request("PATCH", path, {"status": status}, None, MERGE_PATCH)

    async def _heartbeat(self) -> None:
        while True:
            for name in self._nodes:
                await self.beat(name)
            await asyncio.sleep(10)

    async def beat(self, name: str) -> None:
        """Say how the node is now."""
        body = {"status": {"conditions": [_condition("Ready", name not in self.dead)]}}
        with suppress(UserError):
            await self._api.request("PATCH", f"/api/v1/nodes/{name}/status", body, None, MERGE_PATCH)

    async def _watch(self) -> None:
        while True:
            try:
                pods = await self._api.request("GET", "/api/v1/pods")
                for pod in pods["items"]:
                    self._see(pod)
                version = pods["metadata"]["resourceVersion"]
                async with self._api.watch("/api/v1/pods", version, {}) as events:
                    async for event in events:
                        if event["type"] in ("ADDED", "MODIFIED"):
                            self._see(event["object"])
            except (UserError, OSError):
                await asyncio.sleep(0.3)

    def _see(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        if pod["metadata"].get("deletionTimestamp"):
            if f"end-{uid}" not in self._pods:
                self._pods[f"end-{uid}"] = asyncio.create_task(self._end(pod))
        elif pod["spec"].get("nodeName") and uid not in self._pods:
            self._pods[uid] = asyncio.create_task(self._begin(pod))

    async def _end(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        while self.behave.get(pod["metadata"]["labels"].get("llm-bot/workload", "")) == "linger":
            await asyncio.sleep(0.1)
        if begun := self._pods.get(uid):
            begun.cancel()
        if end := self._ends.pop(uid, None):
            await end()
        gone = False
        while not gone:
            try:
                await self._api.request("DELETE", _path(pod), query={"gracePeriodSeconds": "0"})
            except UserError as error:
                gone = isinstance(error, ApiError) and error.status == 404
                await asyncio.sleep(0.2)

    async def _begin(self, pod: Json) -> None:
        name = pod["metadata"]["labels"].get("llm-bot/workload", "")
        log = self.logs.setdefault(pod["metadata"]["name"], [])
        behaviour = self.behave.get(name, "ready")
        if behaviour == "image":
            waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
            await self._status(pod, "Pending", {"waiting": waiting})
            return
        await self._status(pod, "Pending", {"waiting": {"reason": "ContainerCreating"}})
        if behaviour == "mount":
            await self._warn(pod, "FailedMount", 'MountVolume.SetUp failed for volume "models"')
            return
        log += LOG
        await self._status(pod, "Running", {"running": {"startedAt": stamp()}})
        if behaviour in ("crash", "oom"):
            await self.crash(pod, killed=behaviour == "oom")
            return
        if behaviour == "hold":
            return
        if behaviour == "evict" and not self.evicted:
            await self._evict(pod)
            return
        if self.launch is not None:
            try:
                self._ends[pod["metadata"]["uid"]] = await self.launch(pod, log.append)
            except Ended:
                await self.crash(pod)
                return
        await self.get_ready(pod)

    async def get_ready(self, pod: Json) -> None:
        """Its container answers."""
        await self._status(pod, "Running", {"running": {"startedAt": stamp()}}, ready=True)

    async def crash(self, pod: Json, *, killed: bool = False) -> None:
        """Its container ended, again."""
        ended = {
            "reason": "OOMKilled" if killed else "Error",
            "exitCode": 137 if killed else 1,
            "message": "ValueError: the last line of its log",
            "startedAt": stamp(),
            "finishedAt": stamp(),
        }
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off"}
        await self._status(pod, "Running", {"waiting": waiting}, {"terminated": ended}, 2)

    async def _evict(self, pod: Json) -> None:
        self.evicted = True
        told = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
        await self._api.request("PATCH", f"{_path(pod)}/status", {"status": told}, None, MERGE_PATCH)

    async def _warn(self, pod: Json, reason: str, message: str) -> None:
        about = {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{about['name']}.", "namespace": about["namespace"]},
            "involvedObject": about | {"uid": pod["metadata"]["uid"]},
            "type": "Warning",
            "reason": reason,
            "message": message,
        }
        await self._api.request("POST", f"/api/v1/namespaces/{about['namespace']}/events", event)

    async def _status(
        self,
        pod: Json,
        phase: str,
        state: Json,
        last: Json | None = None,
        restarts: int = 0,
        *,
        ready: bool = False,
    ) -> None:
        container = pod["spec"]["containers"][0]
        status = {
            "phase": phase,
            "podIP": "127.0.0.1",
            "conditions": [
                _condition("PodScheduled", True),
                _condition("Initialized", True),
                _condition("ContainersReady", ready),
                _condition("Ready", ready),
            ],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": ready,
                    "restartCount": restarts,
                    "state": state,
                    "lastState": last or {},
                }
            ],
        }
        with suppress(UserError):
            path = f"{_path(pod)}/status"
            await self._api.request("PATCH", path, {"status": status}, None, MERGE_PATCH)

    async def _serve_logs(self) -> int:
        """`GET /containerLogs/NAMESPACE/POD/CONTAINER`, as the API server asks a kubelet."""
        key, certificate = _self_signed(self._folder)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._log)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        return int(self._runner.addresses[0][1])

    async def _log(self, request: web.Request) -> web.Response:
        lines = self.logs.get(request.match_info["pod"], [])
        tail = int(request.query.get("tailLines", "1000"))
        return web.Response(text="\n".join(lines[-tail:]) + "\n")


def _condition(kind: str, true: bool) -> Json:
    return {
        "type": kind,
        "status": "True" if true else "False",
        "lastTransitionTime": stamp(),
        **({"lastHeartbeatTime": stamp(), "reason": "KubeletReady"} if kind == "Ready" else {}),
    }


def _path(pod: Json) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "kubelet.key", folder / "kubelet.crt"
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=kubelet",
    ]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request, *files], check=True, capture_output=True)
    return key, certificate
