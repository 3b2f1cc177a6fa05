"""What is on the cluster, from mirrors in memory: reading asks the API nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import structlog

from bot.cluster import gpus
from bot.cluster.annotations import NewerFormat
from bot.cluster.client import Api, Json
from bot.cluster.manifests import WORKLOAD
from bot.cluster.mirror import Mirror
from bot.cluster.pods import is_ready, server_id, view
from bot.cluster.replica_owner import managed_by, target
from bot.cluster.web_ui import NAME as WEB_UI
from bot.core.changes import Changes
from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.deployment.names import object_name
from bot.core.deployment.workload import Workload
from bot.core.ports import GpuNode, Server

OURS = "app.kubernetes.io/managed-by=llm-bot"
POD_WARNINGS = "type=Warning,involvedObject.kind=Pod"
HOLDS_UP = {
    "FailedMount",
    "FailedAttachVolume",
    "FailedMapVolume",
    "VolumePermissionChangeInProgress",
    "FailedCreatePodSandBox",
    "FailedPodSandBoxStatus",
    "NetworkNotReady",
    "FailedPrepareDynamicResources",
}
"""Events that tell why a container is not created; its status does not. Of the volume's permissions and of
dynamic resources only newer kubelets tell."""
SYNC_SECONDS = 20.0
IN_CLUSTER, POD = ".svc:8000", "http://{ip}:8000"

log = structlog.get_logger()


class PodWarning(NamedTuple):
    """What we keep of an event: the pod that it is about, and what happened to it."""

    pod: str
    message: str


class Views:
    """Workloads and nodes as last seen, and news of them."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._namespace = namespace
        self._changes = Changes()
        self._workloads: dict[str, Workload] = {}
        """By the name of their Deployment."""
        self._newer: set[str] = set()
        self._warnings: dict[str, str] = {}
        apps, core = f"/apis/apps/v1/namespaces/{namespace}", f"/api/v1/namespaces/{namespace}"
        self.deployments = Mirror(api, f"{apps}/deployments", self._deployment_changed, labelSelector=OURS)
        self._pods = Mirror(api, f"{core}/pods", self._pod_changed, labelSelector=OURS)
        self._events = Mirror(
            api, f"{core}/events", self._event_changed, _keep_event, fieldSelector=POD_WARNINGS
        )
        scalers = f"/apis/autoscaling/v1/namespaces/{namespace}/horizontalpodautoscalers"
        self._scalers = Mirror(api, scalers, self._scaler_changed, target)
        self._nodes = Mirror(api, "/api/v1/nodes", self._node_changed, gpus.keep_node)
        self._holders = Mirror(api, "/api/v1/pods", _unheard, gpus.keep_pod, fieldSelector=gpus.RUNNING_PODS)
        self._mirroring: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Return when everything is known; UserError when the API does not answer or refuses."""
        mirrors = (self.deployments, self._pods, self._events, self._scalers, self._nodes, self._holders)
        self._mirroring = [asyncio.create_task(mirror.run()) for mirror in mirrors]
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await asyncio.gather(*(mirror.synced.wait() for mirror in mirrors))
        except TimeoutError:
            raise UserError(t("error.api_away")) from None
        for mirror, resource in ((self.deployments, "deployments"), (self._pods, "pods")):
            if mirror.forbidden:
                where = self._namespace
                raise UserError(t("error.forbidden", verb="list", resource=resource, namespace=where))

    async def stop(self) -> None:
        """Stop following."""
        for task in self._mirroring:
            task.cancel()
        await asyncio.gather(*self._mirroring, return_exceptions=True)

    @property
    def synced(self) -> bool:
        """The mirrors know the cluster, and follow it."""
        following = not any(task.done() for task in self._mirroring)
        return following and self.deployments.synced.is_set() and self._pods.synced.is_set()

    def workloads(self) -> Sequence[Workload]:
        """Every workload as last seen."""
        return list(self._workloads.values())

    def find(self, name: str) -> Workload:
        """One workload; UserError when it is gone."""
        if found := self.by_object_name(object_name(name)):
            return found
        raise UserError(t("workload.gone", name=name))

    def by_object_name(self, name: str) -> Workload | None:
        """The workload of the Deployment that is called so."""
        return self._workloads.get(name)

    def written_by_newer(self) -> list[str]:
        """Names of Deployments that a newer version wrote; they are no workloads."""
        return sorted(self._newer)

    def deployment(self, name: str) -> Json | None:
        """The Deployment of that object name."""
        found: Json | None = self.deployments.items.get((self._namespace, name))
        return found

    def pods_of(self, name: str) -> list[Json]:
        """Its pods, the newest last."""
        pods = [pod for pod in self._pods.items.values() if _workload_of(pod) == name]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def servers(self, name: str, template: str) -> list[Server]:
        """Its ready pods by their own addresses; from outside the cluster, by the one way there is."""
        way = POD if template.endswith(IN_CLUSTER) else template
        told = {"service": name, "namespace": self._namespace}
        ready = [pod for pod in self.pods_of(name) if is_ready(pod)]
        return [
            Server(server_id(pod), way.format(ip=pod["status"].get("podIP"), **told), pod["metadata"]["name"])
            for pod in ready
        ]

    def nodes(self) -> Sequence[GpuNode]:
        """Nodes with GPUs; without the right to see all pods, `used` counts only ours."""
        names = {name: workload.name for name, workload in self._workloads.items()}
        holders = list(self._holders.items.values())
        if self._holders.forbidden:
            holders = [gpus.keep_pod(pod) for pod in self._pods.items.values()]
        return gpus.inventory(self._nodes.items.values(), holders, names)

    def lacks(self) -> Sequence[str]:
        """What the API server does not let us follow."""
        named = {"nodes": self._nodes, "pods": self._holders, "events": self._events}
        return [name for name, mirror in named.items() if mirror.forbidden]

    def changes(self) -> AsyncIterator[str]:
        """Names of workloads as they change."""
        return self._changes.listen()

    def _deployment_changed(self, old: Json | None, new: Json | None) -> None:
        self._refresh((new or old or {})["metadata"]["name"])

    def _pod_changed(self, old: Json | None, new: Json | None) -> None:
        self._refresh(_workload_of(new or old or {}))

    def _event_changed(self, old: PodWarning | None, new: PodWarning | None) -> None:
        """The API server forgets events after an hour; those of a pod that waits come again."""
        seen = new or old
        if seen is None:
            return
        if new:
            self._warnings[new.pod] = new.message
        else:
            self._warnings.pop(seen.pod, None)
        if pod := self._pods.items.get((self._namespace, seen.pod)):
            self._refresh(_workload_of(pod))

    def _node_changed(self, old: gpus.Node | None, new: gpus.Node | None) -> None:
        """What runs on it is lost or found with it."""
        if old and (new is None or old.ready != new.ready):
            pods = [pod for pod in self._pods.items.values() if pod["spec"].get("nodeName") == old.name]
            for name in {_workload_of(pod) for pod in pods} - {""}:
                self._refresh(name)

    def _scaler_changed(self, old: str | None, new: str | None) -> None:
        self._refresh(new or old or "")

    def _refresh(self, name: str) -> None:
        """Build the view of one Deployment again."""
        deployment = self.deployment(name)
        if name == WEB_UI:
            self._changes.tell(WEB_UI)
        elif deployment is None or "deletionTimestamp" in deployment["metadata"]:
            self._newer.discard(name)
            self._forget(name)
        else:
            try:
                managed = managed_by(deployment, name in self._scalers.items.values())
                lost = {node.name for node in self._nodes.items.values() if not node.ready}
                workload = view(deployment, self.pods_of(name), self._warnings, managed, lost)
            except NewerFormat as error:
                self._leave_alone(name, str(error))
                return
            except ValueError as error:  # somebody broke our annotations
                log.warning("unreadable", deployment=name, why=str(error)[:200])
                return
            self._newer.discard(name)
            self._workloads[name] = workload
            self._changes.tell(workload.name)

    def _forget(self, name: str) -> None:
        if known := self._workloads.pop(name, None):
            self._changes.tell(known.name)

    def _leave_alone(self, name: str, why: str) -> None:
        """A newer version wrote it: it is none of our workloads from now on."""
        if name not in self._newer:
            log.warning("deployment.newer_format", deployment=name, why=why)
            self._newer.add(name)
            self._changes.tell(name)
        self._forget(name)


def _keep_event(event: Json) -> PodWarning | None:
    if event.get("reason") not in HOLDS_UP:
        return None
    return PodWarning(event["involvedObject"]["name"], event.get("message", "").strip())


def _workload_of(thing: Json) -> str:
    return str((thing["metadata"].get("labels") or {}).get(WORKLOAD, ""))


def _unheard(old: object, new: object) -> None:
    """Nobody waits for news of nodes."""
