"""The cluster as last seen, from mirrors in memory: reading asks the API nothing."""

from collections.abc import Mapping, Sequence
from functools import partial

import structlog

from bot.cluster import gpus
from bot.cluster.client import Api, Json
from bot.cluster.manifests import WORKLOAD
from bot.cluster.mirror import USUAL_PACE, Mirror, Pace
from bot.cluster.mirrors import Mirrors
from bot.cluster.pod_events import OF_PODS, PodEvent, reduce_event
from bot.cluster.pod_fields import Now, is_dead, is_ready, server_id, utc_now
from bot.cluster.pods import PodSurroundings, read_workload
from bot.cluster.replica_owner import managed_by, scaled_deployment
from bot.cluster.set_aside import SetAside, why
from bot.cluster.shapes import DEPLOYMENT, POD, shaped
from bot.cluster.short_waits import ShortWaits
from bot.cluster.since_before import as_before, still_held_up
from bot.cluster.web_ui import NAME as WEB_UI
from bot.core.changes import Changes, Listening
from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.deployment.names import object_name
from bot.core.deployment.shortage import Shortage
from bot.core.deployment.workload import Phase, Workload
from bot.core.ports import GpuNode, Server

MADE_BY_BOT = "app.kubernetes.io/managed-by=llm-bot"
"""Label selector of what the bot made."""
IN_CLUSTER, POD_ADDRESS = ".svc:8000", "http://{ip}:8000"
"""The end of an address that only pods of the cluster reach; they reach each other without a Service, too."""


log = structlog.get_logger()


class ClusterView:
    """Workloads and GPU nodes as last seen, and the names of workloads as they change.

    `container` is the name of the container that the engine runs in, `pace` how patient the mirrors are,
    `now` what time it is."""

    def __init__(
        self, api: Api, namespace: str, container: str, pace: Pace = USUAL_PACE, now: Now = utc_now
    ) -> None:
        self._now = now
        self._namespace = namespace
        self._container = container
        self._changes = Changes()
        self._workloads: dict[str, Workload] = {}
        """By the name of their Deployment."""
        self._set_aside = SetAside()
        self._told: dict[str, dict[str, PodEvent]] = {}
        """Events by their own name, by the name of their pod."""
        self._short_waits = ShortWaits(self._refresh)
        apps, core = f"/apis/apps/v1/namespaces/{namespace}", f"/api/v1/namespaces/{namespace}"
        autoscaling = f"/apis/autoscaling/v1/namespaces/{namespace}"
        mirror = partial(Mirror, api, pace=pace)
        ours = partial(mirror, labelSelector=MADE_BY_BOT)
        self.deployments = ours(
            f"{apps}/deployments", self._deployment_changed, partial(shaped, rule=DEPLOYMENT)
        )
        self._pods = ours(f"{core}/pods", self._pod_changed, partial(shaped, rule=POD))
        self._events = mirror(f"{core}/events", self._event_changed, reduce_event, fieldSelector=OF_PODS)
        self._scalers = mirror(
            f"{autoscaling}/horizontalpodautoscalers", self._scaler_changed, scaled_deployment
        )
        self._nodes = mirror("/api/v1/nodes", self._node_changed, gpus.reduce_node)
        self._all_pods = mirror(
            "/api/v1/pods", self._holder_changed, gpus.reduce_pod, fieldSelector=gpus.RUNNING_PODS
        )
        self._mirrors = Mirrors(
            {"deployments": self.deployments, "pods": self._pods},
            {
                "events": self._events,
                "horizontalpodautoscalers": self._scalers,
                "nodes": self._nodes,
                "pods (all namespaces)": self._all_pods,
            },
        )

    async def start(self) -> None:
        """Return when everything is known; UserError when the API does not answer or refuses."""
        await self._mirrors.start(self._namespace)

    async def stop(self) -> None:
        """Stop following."""
        self._short_waits.stop()
        await self._mirrors.stop()

    @property
    def synced(self) -> bool:
        """The mirrors know the cluster, and follow it."""
        return self._mirrors.synced

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
        return self._set_aside.newer()

    def unreadable(self) -> Mapping[str, str]:
        """Why what is there cannot be read: Deployments by their name, all else by what and where it is."""
        return {**self._mirrors.unreadable(), **self._set_aside.unreadable()}

    def deployment(self, name: str) -> Json | None:
        """The Deployment of that object name."""
        found: Json | None = self.deployments.items.get((self._namespace, name))
        return found

    def pods_of(self, name: str) -> list[Json]:
        """Its pods, the newest last."""
        pods = [pod for pod in self._pods.items.values() if _workload_of(pod) == name]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def servers(self, name: str, template: str) -> list[Server]:
        """Its ready pods by their own addresses; from outside the cluster, by that of the `template`."""
        address = POD_ADDRESS if template.endswith(IN_CLUSTER) else template
        names = {"service": name, "namespace": self._namespace}
        ready = [pod for pod in self.pods_of(name) if is_ready(pod)]
        return [
            Server(
                server_id(pod, self._container),
                address.format(ip=pod["status"].get("podIP"), **names),
                pod["metadata"]["name"],
            )
            for pod in ready
        ]

    def nodes(self) -> Sequence[GpuNode]:
        """Nodes with GPUs; without the right to see all pods, `used` counts only ours."""
        names = {name: workload.name for name, workload in self._workloads.items()}
        return gpus.inventory(self._nodes.items.values(), self._holders(), names)

    def _holders(self) -> list[gpus.Holder | None]:
        """The pods on nodes; without the right to see all of them, ours."""
        if self._all_pods.forbidden:
            return [_holder(pod) for pod in self._pods.items.values()]
        return list(self._all_pods.items.values())

    def lacks(self, pod: Json) -> Shortage | None:
        """What a pod asks more of than any node with enough GPUs has, were it empty."""
        nodes = self._nodes.items.values()
        return next(filter(None, (gpus.shortage(pod, resource, nodes, ()) for resource in gpus.UNITS)), None)

    def _lacks_now(self, pod: Json, resource: str) -> Shortage | None:
        return gpus.shortage(pod, resource, self._nodes.items.values(), self._holders())

    def missing_rights(self) -> Sequence[str]:
        """Resources that the API server does not let us follow, of those that the bot can do without."""
        optional = {"nodes": self._nodes, "pods": self._all_pods, "events": self._events}
        return [name for name, mirror in optional.items() if mirror.forbidden]

    def stalled(self) -> Sequence[str]:
        """Resources that nothing has brought up to date for a minute, though we may read them."""
        return self._mirrors.stalled()

    def changes(self) -> Listening:
        """Names of workloads as they change."""
        return self._changes.listening()

    def _deployment_changed(self, old: Json | None, new: Json | None) -> None:
        self._refresh((new or old or {})["metadata"]["name"])

    def _pod_changed(self, old: Json | None, new: Json | None) -> None:
        self._refresh(_workload_of(new or old or {}))
        if self._all_pods.forbidden:
            self._holder_changed(_holder(old) if old else None, _holder(new) if new else None)

    def _event_changed(self, old: PodEvent | None, new: PodEvent | None) -> None:
        """The API server forgets events after an hour; those of a pod that waits come again."""
        seen = new or old
        if seen is None:
            return
        if new:
            self._told.setdefault(new.pod, {})[new.name] = new
        elif told := self._told.get(seen.pod):
            told.pop(seen.name, None)
            if not told:
                del self._told[seen.pod]
        if pod := self._pods.items.get((self._namespace, seen.pod)):
            self._refresh(_workload_of(pod))

    def _node_changed(self, old: gpus.Node | None, new: gpus.Node | None) -> None:
        """What runs on it is lost or found with it."""
        if old != new:
            self._count_again()
            self._tell_queue()
        if old and (new is None or old.ready != new.ready):
            pods = [pod for pod in self._pods.items.values() if pod["spec"].get("nodeName") == old.name]
            for name in {_workload_of(pod) for pod in pods} - {""}:
                self._refresh(name)

    def _holder_changed(self, old: gpus.Holder | None, new: gpus.Holder | None) -> None:
        """Who holds GPUs is read when it is asked for; what is left for those that wait is not."""
        if old != new:
            self._count_again()
            if any(holder and holder.gpus for holder in (old, new)):
                self._tell_queue()

    def _count_again(self) -> None:
        """What those wait for that have no node depends on what is left there."""
        waiting = (Phase.SCHEDULING, Phase.QUEUED)
        for name in [n for n, w in self._workloads.items() if w.phase in waiting and w.replicas]:
            self._refresh(name)

    def _tell_queue(self) -> None:
        """What is free has changed for those that have no pods yet."""
        for workload in self._workloads.values():
            if workload.record.queued_since and not workload.replicas:
                self._changes.tell(workload.name)

    def _scaler_changed(self, old: str | None, new: str | None) -> None:
        self._refresh(new or old or "")

    def _refresh(self, name: str) -> None:
        """Build the view of one Deployment again."""
        deployment = self.deployment(name)
        if name == WEB_UI:
            self._changes.tell(WEB_UI)
        elif deployment is None or "deletionTimestamp" in deployment["metadata"]:
            self._set_aside.forget(name)
            self._forget(name)
        else:
            try:
                workload = self._read(name, deployment)
            except ValueError as error:  # somebody broke what we wrote down: a traceback says nothing more
                self._leave_alone(name, error)
                return
            except Exception as error:  # whatever it is: it hides no other one
                if self._leave_alone(name, error):
                    log.error("deployment.failed", deployment=name, exc_info=error)
                return
            self._set_aside.forget(name)
            self._workloads[name] = workload
            self._changes.tell(workload.name)

    def _read(self, name: str, deployment: Json) -> Workload:
        """Any exception if it is not as we have made it."""
        pods, now = self.pods_of(name), self._now()
        names = [pod["metadata"]["name"] for pod in pods]
        around = PodSurroundings(
            container=self._container,
            events={pod: list(self._told.get(pod, {}).values()) for pod in names},
            managed_by=managed_by(deployment, name in self._scalers.items.values()),
            lost={node.name for node in self._nodes.items.values() if not node.ready},
            has_room=self._has_room,
            lacks=self._lacks_now,
            now=now,
            waited=self._short_waits.lasted(name),
        )
        workload = read_workload(deployment, pods, around)
        before = self._workloads.get(name)
        workload = still_held_up(workload, before)
        self._short_waits.note(name, workload.cause)
        return as_before(workload, before, now)

    def _has_room(self, gpus: int) -> bool | None:
        nodes = self.nodes()
        return any(node.free >= gpus for node in nodes) if nodes else None

    def _leave_alone(self, name: str, error: Exception) -> bool:
        """It is none of our workloads from now on; False if it was none before, either."""
        is_new = self._set_aside.note(name, error)
        if is_new:
            log.warning("deployment.set_aside", deployment=name, why=why(error))
            self._changes.tell(name)
        self._forget(name)
        return is_new

    def _forget(self, name: str) -> None:
        self._short_waits.forget(name)
        if known := self._workloads.pop(name, None):
            self._changes.tell(known.name)


def _holder(pod: Json) -> gpus.Holder | None:
    """What a pod of ours holds, as `gpus.RUNNING_PODS` shows those of everybody."""
    return None if is_dead(pod) else gpus.reduce_pod(pod)


def _workload_of(thing: Json) -> str:
    return str((thing["metadata"].get("labels") or {}).get(WORKLOAD, ""))
