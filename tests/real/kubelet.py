"""A kubelet for tests: nodes with GPUs, pods that get ready or fail on demand, and their logs over TLS."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from bot.cluster.client import Api, ApiError
from bot.core.chat.errors import UserError
from tests.real.pod_events import PodEvents
from tests.real.pod_status import MERGE_PATCH, Json, PodStatus, stamp
from tests.real.vllm import Ended

LOG = [
    "INFO 11-23 10:00:00 [__init__.py:239] Automatically detected platform cuda.",
    "INFO 11-23 10:00:05 [model_runner.py:1108] Starting to load model x...",
    "Loading safetensors checkpoint shards: 50% Completed | 1/2 [00:01<00:01]",
]
Launch = Callable[[Json, Callable[[str], None]], Awaitable[Callable[[], Awaitable[None]]]]
"""Really start a pod's container: takes the pod and where to log, returns how to end it."""


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
        self._events = PodEvents(api)
        self._statuses: dict[str, PodStatus] = {}
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
            "conditions": [_node_condition(True)],
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
        body = {"status": {"conditions": [_node_condition(name not in self.dead)]}}
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
        while self.behave.get(_workload(pod)) == "linger":
            await asyncio.sleep(0.1)
        if begun := self._pods.get(uid):
            begun.cancel()
        if status := self._statuses.pop(uid, None):
            await self._events.tell(
                pod, "Killing", f"Stopping container {status.container}", status.container
            )
            if end := self._ends.pop(uid, None):
                await end()
            status.stopped()
            await self._write(pod, status)
        self._events.forget(pod)
        gone = False
        while not gone:
            try:
                await self._api.request("DELETE", _path(pod), query={"gracePeriodSeconds": "0"})
            except UserError as error:
                gone = isinstance(error, ApiError) and error.status == 404
                await asyncio.sleep(0.2)

    async def _begin(self, pod: Json) -> None:
        behaviour = self.behave.get(_workload(pod), "ready")
        status = self._statuses[pod["metadata"]["uid"]] = PodStatus(pod)
        log = self.logs.setdefault(pod["metadata"]["name"], [])
        await self._write(pod, status)
        if behaviour == "mount":
            words = 'MountVolume.SetUp failed for volume "models" : configmap "absent" not found'
            await self._events.warn(pod, "FailedMount", words)
            return
        status.sandboxed()
        await self._write(pod, status)
        if behaviour == "image":
            await self._cannot_pull(pod, status)
            return
        log += LOG
        await self._run(pod, status)
        if behaviour in ("crash", "oom"):
            log.append("ValueError: the last line of its log")
            await self.crash(pod, killed=behaviour == "oom")
        elif behaviour == "evict" and not self.evicted:
            await self._evict(pod, status)
        elif behaviour != "hold":
            await self._launch(pod, log)

    async def _launch(self, pod: Json, log: list[str]) -> None:
        if self.launch is not None:
            try:
                self._ends[pod["metadata"]["uid"]] = await self.launch(pod, log.append)
            except Ended:
                await self.crash(pod)
                return
        await self.get_ready(pod)

    async def get_ready(self, pod: Json) -> None:
        """Its container answers."""
        status = self._statuses[pod["metadata"]["uid"]]
        if status.waiting:
            await self._run(pod, status)
        status.passed()
        await self._write(pod, status)
        status.ready()
        await self._write(pod, status)

    async def crash(self, pod: Json, *, killed: bool = False) -> None:
        """Its container ends; after the first time, and after each back-off, it runs again and ends again."""
        status = self._statuses[pod["metadata"]["uid"]]
        if status.waiting:
            await self._run(pod, status)
        first = not status.ran
        await self._ended(pod, status, killed=killed)
        if first:
            await self._run(pod, status)
            await self._ended(pod, status, killed=killed)
        await self._events.warn(pod, "BackOff", status.back_off_words(), status.container)
        status.backs_off()
        await self._write(pod, status)

    async def _run(self, pod: Json, status: PodStatus) -> None:
        there = f'Container image "{status.image}" already present on machine and can be accessed by the pod'
        await self._events.tell(pod, "Pulled", there, status.container)
        await self._events.tell(pod, "Created", "Container created", status.container)
        await self._events.tell(pod, "Started", "Container started", status.container)
        status.runs()
        await self._write(pod, status)

    async def _ended(self, pod: Json, status: PodStatus, *, killed: bool) -> None:
        log = self.logs[pod["metadata"]["name"]]
        status.ended(137 if killed else 1, "OOMKilled" if killed else "Error", log)
        await self._write(pod, status)

    async def _cannot_pull(self, pod: Json, status: PodStatus) -> None:
        why = f'failed to pull and unpack image "{status.image}": failed to resolve image: not found'
        wait = f'Back-off pulling image "{status.image}"'
        await self._events.tell(pod, "Pulling", f'Pulling image "{status.image}"', status.container)
        words = f'Failed to pull image "{status.image}": {why}'
        await self._events.warn(pod, "Failed", words, status.container)
        await self._events.warn(pod, "Failed", "Error: ErrImagePull", status.container)
        status.waits("ErrImagePull", why)
        await self._write(pod, status)
        await self._events.tell(pod, "BackOff", wait, status.container)
        await self._events.warn(pod, "Failed", "Error: ImagePullBackOff", status.container)
        status.waits("ImagePullBackOff", f"{wait}: ErrImagePull: {why}")
        await self._write(pod, status)

    async def _evict(self, pod: Json, status: PodStatus) -> None:
        self.evicted = True
        words = "Pod ephemeral local storage usage exceeds the total limit of containers 32Mi. "
        await self._events.warn(pod, "Evicted", words)
        await self._events.tell(pod, "Killing", f"Stopping container {status.container}", status.container)
        status.evicted(words)
        await self._write(pod, status)

    async def _write(self, pod: Json, status: PodStatus) -> None:
        """As long as it takes: the API server may be away; until the pod is gone, or it is said otherwise."""
        while self._statuses.get(pod["metadata"]["uid"]) in (status, None):
            try:
                await self._api.request("PATCH", f"{_path(pod)}/status", status.body(), None, MERGE_PATCH)
                return
            except ApiError as error:
                if 400 <= error.status < 500 and error.status != 429:
                    return
            except UserError:
                pass
            await asyncio.sleep(0.2)

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


def _node_condition(alive: bool) -> Json:
    """That of a kubelet that answers, or the node controller's word on one that does not."""
    lost = {
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
    }
    well = {"status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    at = {"lastHeartbeatTime": stamp(), "lastTransitionTime": stamp()}
    return {"type": "Ready", **(well if alive else lost), **at}


def _workload(pod: Json) -> str:
    return str(pod["metadata"]["labels"].get("llm-bot/workload", ""))


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
