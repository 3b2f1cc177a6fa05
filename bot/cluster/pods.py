"""The phase of a workload, from its Deployment and pods."""

import re
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import NamedTuple

from bot.cluster.annotations import read_record, read_spec
from bot.cluster.client import Json
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Workload
from bot.core.failures.redact import redact

RESTARTS_FORGIVEN = 1
"""A server that crashed once may have met a hiccup of the network; twice is a cause."""
_IMAGE = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_CONFIG = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
    "PreStartHookError",
}
"""Why a container waits, as kubelets up to 1.37 call it."""
_STORAGE = re.compile(r"volume|\bpvc?\(s\)|free storage|available disk|storage ?class", re.IGNORECASE)
"""What schedulers say of a pod's storage: `had volume node affinity conflict`, now `didn't match
PersistentVolume's node affinity`; some reasons speak of pvc(s), storage or a disk alone."""
_TAINTS = re.compile(r"\{[^}]*\}")
"""Older schedulers name them, and people choose the names: `had untolerated taint {volume-test: yes}`."""


class PodState(NamedTuple):
    """What a pod or Deployment shows."""

    phase: Phase
    since: datetime
    """When the phase began."""
    cause: str = ""
    """Why it does not go on, as the name of a `[cause]` sentence; empty if it does."""
    evidence: str = ""
    """What the cluster wrote of that."""


_FURTHEST_FIRST = [
    Phase.READY,
    Phase.FAILED,
    Phase.LOADING,
    Phase.PULLING,
    Phase.SCHEDULING,
    Phase.QUEUED,
]


def read_workload(
    deployment: Json,
    pods: Sequence[Json],
    warnings: Mapping[str, str],
    *,
    container: str,
    managed_by: str = "",
    lost: Set[str] = frozenset(),
) -> Workload:
    """The workload as the port shows it, from its Deployment and its `pods`, the newest last.

    `warnings` has the last one of a pod, by the pod's name; `container` is the one that the engine runs in,
    `managed_by` who else scales it, `lost` the nodes whose kubelets do not answer.
    ValueError if its annotations are not ours."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    alive = _alive(pods)
    ending = [pod for pod in pods if "deletionTimestamp" in pod["metadata"]]
    record = read_record(metadata)
    told = [warnings.get(pod["metadata"]["name"], "") for pod in alive]
    states = [pod_state(pod, why, container=container) for pod, why in zip(alive, told, strict=True)]
    state = _all_lost(alive, lost) or _state(deployment, states, ending=bool(ending))
    state = _as_recorded(state, record)
    ready = [pod for pod in alive if is_ready(pod)]
    nodes = {pod["spec"].get("nodeName", "") for pod in alive} - {""}
    return Workload(
        spec=read_spec(metadata),
        record=record,
        phase=state.phase,
        since=state.since,
        created=parse_time(metadata["creationTimestamp"]),
        version=metadata["resourceVersion"],
        replicas=spec.get("replicas", 1),
        ready_replicas=len(ready),
        nodes=tuple(sorted(nodes)),
        cause=state.cause,
        evidence=redact(state.evidence[:400]),
        managed_by=managed_by,
        ending_since=min((parse_time(pod["metadata"]["deletionTimestamp"]) for pod in ending), default=None),
    )


def _as_recorded(state: PodState, record: Record) -> PodState:
    """The state with what only the record tells of a workload that has no replicas."""
    if record.queued_since and state.phase is Phase.ASLEEP:
        return PodState(Phase.QUEUED, record.queued_since)
    if state.phase in (Phase.DRAINING, Phase.ASLEEP):
        return state._replace(since=record.asleep_since(state.since))
    return state


def _all_lost(pods: Sequence[Json], lost: Set[str]) -> PodState | None:
    """The state of pods whose nodes are all lost; None if one is not, or there are none."""
    if not pods or any(pod["spec"].get("nodeName") not in lost for pod in pods):
        return None
    since = parse_time(_condition(pods[0], "Ready").get("lastTransitionTime"))
    return PodState(Phase.FAILED, since, "node_lost", pods[0]["spec"]["nodeName"])


def _alive(pods: Sequence[Json]) -> list[Json]:
    """Pods that are not ending; of those that ended by themselves the last one, if it is all there is."""
    staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    going_on = [pod for pod in staying if pod.get("status", {}).get("phase") != "Failed"]
    return going_on or staying[-1:]


def _state(deployment: Json, pods: list[PodState], *, ending: bool) -> PodState:
    """That of the pod which is furthest, if there is one; else what the Deployment tells."""
    since = _progressed(deployment)
    if deployment["spec"].get("replicas", 1) == 0:
        return PodState(Phase.DRAINING if pods or ending else Phase.ASLEEP, since)
    if pods:
        return min(pods, key=lambda state: _FURTHEST_FIRST.index(state.phase))
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = condition.get("message", "")
            cause = "quota_exceeded" if "exceeded quota" in message else "admission_denied"
            return PodState(Phase.FAILED, since, cause, message)
    return PodState(Phase.SCHEDULING, since)


def pod_state(pod: Json, warning: str = "", *, container: str) -> PodState:
    """How far a pod is, and what stopped it, by the state of the `container` that the engine runs in.

    A container that is not created yet says nothing of why: only a `warning` among the pod's events does (a
    volume that cannot be mounted, a sandbox)."""
    created = parse_time(pod["metadata"]["creationTimestamp"])
    status = container_status(pod, container)
    if pod.get("status", {}).get("phase") == "Failed":
        cause = "evicted" if pod["status"].get("reason") == "Evicted" else "crashed"
        message = pod["status"].get("message", "")
        return PodState(Phase.FAILED, _unready_since(pod, status), cause, message)
    ready, scheduled = _condition(pod, "Ready"), _condition(pod, "PodScheduled")
    if ready.get("status") == "True":
        return PodState(Phase.READY, parse_time(ready.get("lastTransitionTime")))
    if not pod["spec"].get("nodeName"):
        return _unplaced(scheduled, created)
    state = _container_state(status, created, _unready_since(pod, status))
    if warning and state.phase is Phase.PULLING:
        return PodState(Phase.PULLING, created, "start", warning)
    return state


def _unready_since(pod: Json, status: Json) -> datetime:
    """When a pod that does not answer stopped answering.

    That is the last crash (by the `status` of its container) or the end of its last time ready, whichever is
    later; without both it is its creation."""
    stamps = _ended(status).get("finishedAt"), _condition(pod, "Ready").get("lastTransitionTime")
    created = parse_time(pod["metadata"]["creationTimestamp"])
    return max((parse_time(stamp) for stamp in stamps if stamp), default=created)


def _ended(status: Json) -> Json:
    """How a container's last run ended; empty if none has."""
    now, before = status.get("state", {}), status.get("lastState", {})
    ended: Json = now.get("terminated") or before.get("terminated") or {}
    return ended


def _container_state(status: Json, created: datetime, unready: datetime) -> PodState:
    now, ended = status.get("state", {}), _ended(status)
    waiting = now.get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE:
        return PodState(Phase.FAILED, unready, "image_pull", message)
    if reason in _CONFIG:
        return PodState(Phase.FAILED, unready, "config", message)
    looping = status.get("restartCount", 0) > RESTARTS_FORGIVEN or reason == "CrashLoopBackOff"
    if looping and ended:
        killed = ended.get("reason") == "OOMKilled"
        cause = "container_oomkilled" if killed else "crashed"
        return PodState(Phase.FAILED, unready, cause, _last_line(ended.get("message", "")))
    if "running" in now:
        return PodState(Phase.LOADING, parse_time(now["running"].get("startedAt")))
    return PodState(Phase.PULLING, created)


def is_ready(pod: Json) -> bool:
    """Whether it answers, and is not about to end."""
    return "deletionTimestamp" not in pod["metadata"] and _condition(pod, "Ready").get("status") == "True"


def container_status(pod: Json, container: str) -> Json:
    """What the kubelet says of one container; empty before it says anything.

    By name: a mesh or an operator may put containers of its own before ours."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == container), {})


def server_id(pod: Json, container: str) -> str:
    """Names one run of the server in a pod: another one after each restart, as its counters begin again."""
    return f"{pod['metadata']['uid']}/{container_status(pod, container).get('restartCount', 0)}"


def _unplaced(scheduled: Json, created: datetime) -> PodState:
    """A pod without a node, and why, as its condition `PodScheduled` tells it."""
    reason, message = scheduled.get("reason", ""), scheduled.get("message", "")
    need = _unmet_need(message)
    if reason == "Unschedulable":
        return PodState(Phase.SCHEDULING if need else Phase.QUEUED, created, need, message)
    if reason == "SchedulerError" and need == "volume":  # of a storage class that is not there
        return PodState(Phase.SCHEDULING, created, need, message)
    return PodState(Phase.SCHEDULING, created)


def _unmet_need(message: str) -> str:
    """What the scheduler misses besides GPUs: a volume, or a node that the pod may run on."""
    if "Insufficient nvidia.com/gpu" in message:
        return ""
    return "volume" if _STORAGE.search(_TAINTS.sub("", message)) else "node"


def gpus_of(pod: Json) -> int:
    """How many GPUs all containers of a pod ask for together."""
    containers = pod["spec"].get("containers", [])
    return sum(
        int(container.get("resources", {}).get("requests", {}).get("nvidia.com/gpu", 0))
        for container in containers
    )


def parse_time(stamp: str | None) -> datetime:
    """An API timestamp, or now if there is none yet."""
    return datetime.fromisoformat(stamp) if stamp else datetime.now(UTC)


def _condition(pod: Json, kind: str) -> Json:
    conditions = pod.get("status", {}).get("conditions") or []
    return next((found for found in conditions if found["type"] == kind), {})


def _progressed(deployment: Json) -> datetime:
    """When the Deployment last became available, or ceased to be. With 0 replicas it is available."""
    stamps = [
        condition["lastTransitionTime"]
        for condition in deployment.get("status", {}).get("conditions") or []
        if condition["type"] == "Available"
    ]
    return parse_time(stamps[0] if stamps else deployment["metadata"]["creationTimestamp"])


def _last_line(message: str) -> str:
    lines = [line for line in message.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
