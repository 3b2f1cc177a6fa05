"""What a workload does, from its Deployment, its pods and their events: the one place that judges it."""

import re
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from bot.cluster.annotations import read_record, read_spec, wanted_replicas
from bot.cluster.client import Json
from bot.cluster.endings import EVIDENCE, Events, last_ending
from bot.cluster.gpus import UNITS
from bot.cluster.pod_events import PodEvent, failed_pull, is_pulling, killed_by_probe, trouble
from bot.cluster.pod_fields import (
    condition,
    container_status,
    gpus_of,
    is_dead,
    is_ending,
    is_ready,
    parse_time,
    server_id,
)
from bot.cluster.resources import quota_is_too_small
from bot.cluster.stages import first_stages
from bot.cluster.waits import (
    CONFIG,
    IMAGE,
    MENDS,
    NEVER_PULLED,
    PATIENCE,
    config_wait,
    image_wait,
    lasting_cause,
    unmet_need,
)
from bot.core.deployment.ending import DISPLACED, ENDS_FORGIVEN, GARBLED, Ending
from bot.core.deployment.names import object_name
from bot.core.deployment.record import Record
from bot.core.deployment.shortage import Shortage
from bot.core.deployment.workload import UNREADY, Phase, Workload
from bot.core.failures.redact import evidence


class PodState(NamedTuple):
    """What a pod or Deployment shows."""

    phase: Phase
    since: datetime
    """When the phase began."""
    cause: str = ""
    """Of a failure, the name of a `[cause]` sentence; of a wait, of a `[waits]` sentence; empty if it goes
    on."""
    evidence: str = ""
    """What the cluster wrote of that."""


_LIMIT_RANGE = re.compile(r"(maximum|minimum|max|min) .* usage per|limit to request ratio")
"""What is said of a pod that the namespace's LimitRange does not allow."""
_QUOTA_WANTS = re.compile(r"failed quota: .*must specify")
"""What is said of a pod that leaves open how much it needs of something that the quota counts."""
_PASSING = re.compile(r"(?<= )[\d.]+:\d+->| \"[0-9a-f]{64}\"")
"""The port that a node asked a name server from; the id of a sandbox."""
_FURTHEST_FIRST = [
    Phase.READY,
    Phase.FAILED,
    Phase.LOADING,
    Phase.PULLING,
    Phase.PREPARING,
    Phase.SCHEDULING,
    Phase.QUEUED,
]


class PodSurroundings(NamedTuple):
    """What besides its Deployment and pods decides what a workload does."""

    container: str
    """The name of the container that the engine runs in."""
    events: Events = MappingProxyType({})
    """Events of its pods."""
    managed_by: str = ""
    """What else scales it."""
    lost: Set[str] = frozenset()
    """Nodes whose kubelets do not answer."""
    has_room: Callable[[int], bool | None] = lambda gpus: None
    """Whether a node has so many GPUs free; None: that is not known."""
    lacks: Callable[[Json, str], Shortage | None] = lambda pod, resource: None
    """What a pod lacks of `cpu` or `memory` on every node that has GPUs free for it."""
    now: datetime = datetime.max.replace(tzinfo=UTC)
    """Nothing has happened later than this, whatever the clock of a node says."""
    waited: timedelta = timedelta(0)
    """How long it has been in a wait that often mends itself."""


def read_workload(deployment: Json, pods: Sequence[Json], around: PodSurroundings) -> Workload:
    """The workload as the port shows it, from its Deployment and its `pods`, the newest last.

    ValueError if its annotations are not ours, or are those of another one."""
    metadata, replicas = deployment["metadata"], wanted_replicas(deployment)
    staying = [pod for pod in pods if not is_ending(pod)]
    alive = [pod for pod in staying if not is_dead(pod)]
    ending = [pod for pod in pods if is_ending(pod)]
    record, runs = read_record(metadata), read_spec(metadata)
    if object_name(runs.name) != metadata["name"]:  # what is done to it would be done to another one
        raise ValueError(f"its spec is that of {runs.name[:60]}")
    end = last_ending(pods, around.events, record.last_end, container=around.container, now=around.now)
    states = [pod_state(pod, around) for pod in alive]
    state = _state(deployment, states, draining=bool(alive or ending))
    answering = {server_id(pod, around.container) for pod in alive if is_ready(pod)}
    state = _all_lost(alive, around.lost) or _as_ended(state, end, replicas, answering)
    state = _as_recorded(_if_it_lasts(state, around.waited), record)
    return Workload(
        spec=runs,
        record=record,
        phase=state.phase,
        since=state.since,
        created=parse_time(metadata["creationTimestamp"]),
        version=metadata["resourceVersion"],
        replicas=replicas,
        ready_replicas=sum(map(is_ready, alive)),
        placed_replicas=sum(bool(pod["spec"].get("nodeName")) for pod in alive),
        nodes=tuple(sorted({pod["spec"].get("nodeName", "") for pod in alive} - {""})),
        cause=state.cause,
        shortage=_shortage(state, alive, around),
        evidence=evidence(_steady(state.evidence), EVIDENCE),
        last_end=end,
        stages=first_stages(alive, around.container, around.events),
        managed_by=around.managed_by,
        ending_since=min((parse_time(pod["metadata"]["deletionTimestamp"]) for pod in ending), default=None),
    )


def _steady(message: str) -> str:
    """What the cluster wrote, in one line, without what is another in each try and says nothing."""
    return _PASSING.sub("", " ".join(message.split()))


def _shortage(state: PodState, alive: Sequence[Json], around: PodSurroundings) -> Shortage | None:
    """The numbers of a wait for CPU or memory."""
    if state.cause not in UNITS or state.phase is Phase.FAILED:
        return None
    unplaced = [pod for pod in alive if not pod["spec"].get("nodeName")]
    return around.lacks(unplaced[0], state.cause) if unplaced else None


def _as_ended(state: PodState, end: Ending | None, replicas: int, runs: Set[str]) -> PodState:
    """The state with what is known of how its runs ended: a start that has failed stays so while it is tried
    again, until it is ready. It has failed, too, if one of the `runs` that are ready answers nonsense."""
    if end is None or state.phase in (Phase.DRAINING, Phase.ASLEEP):
        return state
    if state.phase is Phase.READY:
        garbled = end.cause == GARBLED and end.number and end.run in runs
        return PodState(Phase.FAILED, end.at, GARBLED, end.evidence) if garbled else state
    if end.number > ENDS_FORGIVEN * replicas and end.cause not in DISPLACED:
        return PodState(Phase.FAILED, end.at, end.cause, end.evidence)
    return state


def _if_it_lasts(state: PodState, waited: timedelta) -> PodState:
    """A wait that has lasted too long is a failure."""
    if state.cause in MENDS and state.phase is not Phase.FAILED and waited >= PATIENCE:
        return state._replace(phase=Phase.FAILED, cause=lasting_cause(state.cause, state.evidence))
    return state


def _as_recorded(state: PodState, record: Record) -> PodState:
    """The state with what only the record tells."""
    if record.queued_since and state.phase is Phase.ASLEEP:
        return PodState(Phase.QUEUED, record.queued_since)
    if state.phase in (Phase.DRAINING, Phase.ASLEEP):
        return state._replace(since=record.asleep_since(state.since))
    return state


def _all_lost(pods: Sequence[Json], lost: Set[str]) -> PodState | None:
    """The state of pods whose nodes are all lost; None if one is not, or there are none."""
    if not pods or any(pod["spec"].get("nodeName") not in lost for pod in pods):
        return None
    since = parse_time(condition(pods[0], "Ready").get("lastTransitionTime"))
    return PodState(Phase.FAILED, since, "node_lost", pods[0]["spec"]["nodeName"])


def _state(deployment: Json, pods: list[PodState], *, draining: bool) -> PodState:
    """That of the pod which is furthest, if there is one; else what the Deployment tells."""
    since = _progressed(deployment)
    if not wanted_replicas(deployment):
        return PodState(Phase.DRAINING if draining else Phase.ASLEEP, since)
    if pods:
        return min(pods, key=lambda state: _FURTHEST_FIRST.index(state.phase))
    for found in deployment.get("status", {}).get("conditions", []):
        if found["type"] == "ReplicaFailure" and found["status"] == "True":
            return _not_made(found.get("message", ""), since)
    return PodState(Phase.SCHEDULING, since)


def _not_made(message: str, since: datetime) -> PodState:
    """The state of a Deployment whose pod the API server refuses, by what it says."""
    if _QUOTA_WANTS.search(message):
        return PodState(Phase.FAILED, since, "quota_unspecified", message)
    if "exceeded quota" in message:
        never = quota_is_too_small(message)
        phase = Phase.FAILED if never else Phase.SCHEDULING
        return PodState(phase, since, "quota_too_small" if never else "quota", message)
    limited = _LIMIT_RANGE.search(message)
    return PodState(Phase.FAILED, since, "limit_range" if limited else "admission_denied", message)


def pod_state(pod: Json, around: PodSurroundings) -> PodState:
    """How far a pod is, and what holds it up, by the state of the container that the engine runs in.

    A container that is not created yet says nothing of why: only the events of the pod do."""
    created = parse_time(pod["metadata"]["creationTimestamp"])
    ready = condition(pod, "Ready")
    if ready.get("status") == "True":
        return PodState(Phase.READY, parse_time(ready.get("lastTransitionTime")))
    if not pod["spec"].get("nodeName"):
        return _unplaced(pod, created, around)
    status = container_status(pod, around.container)
    told = around.events.get(pod["metadata"]["name"], ())
    return _container_state(status, _unready_since(pod, status), told, ready.get("lastTransitionTime", ""))


def _unready_since(pod: Json, status: Json) -> datetime:
    """When a pod that does not answer stopped answering: the end of its last run (by the `status` of its
    container), or of its last time ready, whichever is later; without both it is its creation."""
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated") or {}
    stamps = ended.get("finishedAt"), condition(pod, "Ready").get("lastTransitionTime")
    created = parse_time(pod["metadata"]["creationTimestamp"])
    return max((parse_time(stamp) for stamp in stamps if stamp), default=created)


def _container_state(
    status: Json, since: datetime, events: Sequence[PodEvent], unready: str = ""
) -> PodState:
    """`unready` is the stamp of when it was found not to be ready: before its container began, or since."""
    now = status.get("state", {})
    waiting = now.get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in (*NEVER_PULLED, *IMAGE, *CONFIG):
        return _refused(reason, message, since, events)
    if "running" in now:
        return _running(status, events, unready, since)
    if reason == "CrashLoopBackOff" or "terminated" in now:
        return PodState(Phase.PREPARING, since, "restart")
    if is_pulling(events):
        return PodState(Phase.PULLING, since)
    return PodState(Phase.PREPARING, since, *trouble(events))


def _refused(reason: str, message: str, since: datetime, events: Sequence[PodEvent]) -> PodState:
    """The state of a container that its node cannot create now, for a `reason` of the kubelet."""
    if reason in NEVER_PULLED:
        cause = "image_name" if reason == "InvalidImageName" else "image_pull"
        return PodState(Phase.FAILED, since, cause, message)
    if reason in IMAGE:
        wait, message = image_wait(reason, message, failed_pull(events))
        return PodState(Phase.PULLING if wait == "pull" else Phase.PREPARING, since, wait, message)
    if wait := config_wait(message):
        return PodState(Phase.PREPARING, since, wait, message)
    return PodState(Phase.FAILED, since, "root_image", message)


def _running(status: Json, events: Sequence[PodEvent], unready: str, since: datetime) -> PodState:
    """A container that runs and is not ready, at last since the stamp `unready`. One that its startup probe
    has given up takes its time to end."""
    stamp = status["state"]["running"].get("startedAt", "")
    began = parse_time(stamp)
    if killed_by_probe(events, began) == "not_ready_in_time":
        return PodState(Phase.LOADING, began, "too_slow")
    if status.get("started") and unready > stamp:
        return PodState(Phase.LOADING, since, UNREADY)
    return PodState(Phase.LOADING, began)


def _unplaced(pod: Json, created: datetime, around: PodSurroundings) -> PodState:
    """A pod without a node, and why, as its condition `PodScheduled` tells it."""
    scheduled = condition(pod, "PodScheduled")
    reason, message = scheduled.get("reason", ""), scheduled.get("message", "")
    need = unmet_need(message, gpus_free=around.has_room(gpus_of(pod)))
    if reason == "Unschedulable":
        return PodState(Phase.SCHEDULING if need else Phase.QUEUED, created, need, message)
    if reason == "SchedulerError" and need.startswith("volume"):  # of a storage class that is not there
        return PodState(Phase.SCHEDULING, created, need, message)
    return PodState(Phase.SCHEDULING, created)


def _progressed(deployment: Json) -> datetime:
    """When the Deployment last became available, or ceased to be. With 0 replicas it is available."""
    stamps = [
        found["lastTransitionTime"]
        for found in deployment.get("status", {}).get("conditions") or []
        if found["type"] == "Available"
    ]
    return parse_time(stamps[0] if stamps else deployment["metadata"]["creationTimestamp"])
