"""A namespace on the real control plane with the bot's rights, a kubelet, and the adapter on it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.app import background_jobs, wiring
from bot.app.application import App
from bot.app.clock import SystemClock
from bot.app.engines import ENGINE
from bot.app.settings import Settings
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.client import Api, connect
from bot.cluster.manifests import WorkloadSettings
from tests.conftest import Chat, eventually
from tests.real.bot_rights import install
from tests.real.control_plane import ADMIN, ControlPlane
from tests.real.kubelet import Kubelet, Launch
from tests.real.pod_status import MERGE_PATCH, Json

NODES = {"icc-gpu-1": 4, "icc-gpu-2": 4, "icc-cpu-1": 0}
_numbers = itertools.count(1)


@dataclass
class RealWorld:
    """What a test on the real API server needs; `cluster` acts as the ServiceAccount llm-bot."""

    plane: ControlPlane
    namespace: str
    kubeconfig: Path
    admin: Api
    kubelet: Kubelet
    cluster: KubernetesCluster

    async def names(self, kind: str) -> list[str]:
        """Names of the objects of a kind (its path in the API) in the namespace."""
        group = "/apis/apps/v1" if kind == "deployments" else "/api/v1"
        found = await self.admin.request("GET", f"{group}/namespaces/{self.namespace}/{kind}")
        return [thing["metadata"]["name"] for thing in found["items"]]

    async def pods(self, name: str) -> list[Json]:
        """Those of a model."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        found = await self.admin.request("GET", path, query={"labelSelector": f"llm-bot/workload=llm-{name}"})
        return list(found["items"])

    async def provide(self, gpus: dict[str, int]) -> None:
        """From now on the nodes have so many."""
        for name, count in gpus.items():
            told = {"nvidia.com/gpu": str(count)}
            body = {"status": {"capacity": told, "allocatable": told}}
            await self.admin.request("PATCH", f"/api/v1/nodes/{name}/status", body, None, MERGE_PATCH)


@asynccontextmanager
async def real_world(
    plane: ControlPlane,
    folder: Path,
    launch: Launch | None = None,
    url_template: str = "http://127.0.0.1:9",
    nodes: dict[str, int] = NODES,
    **more: Any,
) -> AsyncIterator[RealWorld]:
    """A fresh namespace; at the end its pods are gone, so that their GPUs are free."""
    namespace = f"w{next(_numbers)}-default"
    kubeconfig = install(plane, folder, namespace)
    admin = await connect(str(plane.kubeconfig(ADMIN)))
    kubelet = Kubelet(admin, folder, launch)
    await kubelet.start(nodes)
    gpus = sum(nodes.values())
    settings = WorkloadSettings(namespace=namespace, **more)
    try:
        async with KubernetesCluster(str(kubeconfig), settings, url_template, ENGINE) as cluster:
            await eventually(lambda: sum(node.free for node in cluster.nodes()) == gpus)
            try:
                yield RealWorld(plane, namespace, kubeconfig, admin, kubelet, cluster)
            finally:  # also when a test fails: the next one needs the GPUs
                plane.kubectl("delete", "deployments", "--all", "--wait=false", "-n", namespace)
                await eventually(lambda: sum(node.free for node in cluster.nodes()) == gpus)
    finally:
        await kubelet.stop()
        await admin.close()


@asynccontextmanager
async def at_work(settings: Settings, cluster: KubernetesCluster, chat: Chat) -> AsyncIterator[App]:
    """The whole bot in this process, without a platform, until the end of the block."""
    inference = wiring.inference_of(settings)
    built = wiring.build(settings, cluster, inference, chat, SystemClock())
    running = asyncio.create_task(background_jobs.serve(settings, built, []))
    try:
        yield built
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await built.close()
        await inference.close()
