"""How the runs of a workload's engine have ended, from its pods and from what is written down of them."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from bot.cluster.client import Json
from bot.cluster.pod_events import PodEvent, killed_by_probe
from bot.cluster.pod_fields import condition, container_status, is_dead, is_ending, parse_time
from bot.cluster.waits import NOT_CREATED
from bot.core.deployment.ending import BY_EXIT_CODE, MUTE, Ending
from bot.core.failures.redact import evidence
from bot.core.frozen import MOST

Events = Mapping[str, Sequence[PodEvent]]
"""Events by the name of their pod."""
EVIDENCE = 400
"""Characters of a message that are kept."""
KILLED = (0, 137, 143)
"""Exit codes of an engine that was told to end: it did, or was killed."""
TO_END = timedelta(minutes=3)
"""How long that takes at most: the grace period, and some seconds of the kubelet."""
LOGS_SAY_MORE = MUTE | {"container_oomkilled"}
"""Causes that the log of a run may know better."""
_REJECTED = {
    "TopologyAffinityError": "node_topology",
    "SMTAlignmentError": "node_topology",
    "Preempting": "preempted",
    "Preempted": "preempted",
    "NodeShutdown": "node_shutdown",
    "Shutdown": "node_shutdown",
    "Terminated": "node_shutdown",
    "NodeLost": "node_lost",
    "NodeAffinity": "node_refused",
}
"""Causes by the reason of a pod that has failed; one that begins with `OutOf` is `node_full`, one that nobody
knows `pod_failed`."""
_NOT_ADMITTED = (
    ("gpu_lost", re.compile(r"GPU is lost|unhealthy")),
    ("device_plugin", re.compile(r"rpc failed|unregistered device|endpoint|nvml\.Init")),
    ("node_full", re.compile(r"not enough (cpus|memory)|memory manager", re.IGNORECASE)),
)
"""Causes by what a kubelet says of a pod that it does not take (UnexpectedAdmissionError); the first that is
found, else `gpu_lost`."""
_DISRUPTED = {
    "EvictionByEvictionAPI": "drained",
    "PreemptionByScheduler": "preempted",
    "DeletionByTaintManager": "tainted",
    "DeletionByPodGC": "node_lost",
}
"""Causes by the reason of the condition DisruptionTarget."""
_EVICTED = (
    ("shm_limit", re.compile(r'EmptyDir volume "[^"]*shm[^"]*" exceeds')),
    ("disk_limit", re.compile(r"exceeds the (total )?limit")),
    ("disk_pressure", re.compile(r"ephemeral-storage|DiskPressure|inodes")),
    ("memory_pressure", re.compile(r"resource: memory|MemoryPressure")),
    ("pid_pressure", re.compile(r"resource: pids|PIDPressure")),
)
"""Causes by what a kubelet says of an eviction; the first that is found."""
_OF_CLUSTER = {"evicted", "node_full", *_REJECTED.values(), *_DISRUPTED.values(), *(it for it, _ in _EVICTED)}
"""Causes that lie with the cluster, all of them: no log has given them."""
_EXEC_FORMAT = "exec format error"
_NOT_STARTED = (
    *NOT_CREATED,
    ("other_processor", re.compile(_EXEC_FORMAT)),
    (
        "no_program",
        re.compile(r"\bexec(:| /).*no such file or directory|executable file .*not found", re.IGNORECASE),
    ),
    ("not_executable", re.compile(r"(\bexec(:| /)|open executable).*permission denied", re.IGNORECASE)),
)
"""Causes by what a container runtime says of a program that it cannot start (StartError). Of a mount that
fails it says *no such file*, too."""
_RUNTIME = re.compile(r"^failed to create .*unable to start container process: ", re.DOTALL)
"""What it says before that."""
_ECHO = re.compile(r"(Killed|Terminated|Aborted|Segmentation fault|INFO|DEBUG)\b|KeyboardInterrupt")
"""Lines that do not say why: that it was ended, as a shell or Python tells, or that all is well."""
NEVER_SEEN = "ContainerStatusUnknown"
"""The reason of a container that a kubelet lost sight of: `restartCount` counts that as a restart."""


class _Ended(NamedTuple):
    """The runs of one pod that have ended, the last of them in detail."""

    uid: str
    made: datetime
    ends: int
    dead: bool
    """It is over, and ends no more."""
    at: datetime
    cause: str
    node: str
    exit_code: int | None
    evidence: str

    @property
    def run(self) -> str:
        """The last of them, as an `Ending.run`."""
        return f"{self.uid}/{self.ends - 1}"


def last_ending(
    pods: Sequence[Json], events: Events, known: Ending | None, *, container: str, now: datetime
) -> Ending | None:
    """How the last run ended: as the `pods` tell, or as it is `known` from the record if that is as new;
    None if none has ended.

    A cause that a log has given stands until a run ends otherwise, or its own log has been read. The clock of
    a node may be off by minutes: nothing has ended before its pod was made, or later than `now`."""
    ended = [found for pod in pods if (found := _ended(pod, events, container))]
    fresh = sum(_unseen(found, known, now) for found in ended)
    if not fresh:
        return known
    ended = [found._replace(at=min(found.at, now)) for found in ended]
    last = max(ended, key=lambda found: (found.at, found.made))
    cause, evidence, exit_code = last.cause, last.evidence, last.exit_code
    counted = known.number if known else 0
    alike = known and counted and known.log_read and known.exit_code == exit_code
    if known and alike and cause in MUTE and known.cause not in _OF_CLUSTER:
        cause, evidence = known.cause, known.evidence
    same = known if known and counted and known.cause == cause else None
    return Ending(
        number=min(MOST, counted + fresh),
        run=last.run,
        others=tuple(found.run for found in ended if found is not last and not found.dead),
        at=last.at,
        cause=cause,
        node=last.node,
        exit_code=exit_code,
        evidence=(same and same.evidence) or evidence,
        alike=min(MOST, (same.alike if same else 0) + fresh),
        fitting_context=known.fitting_context if known and known.cause == cause else 0,
        log_read=last.cause not in LOGS_SAY_MORE,
    )


def _unseen(found: _Ended, known: Ending | None, now: datetime) -> int:
    """How many ends of a pod are newer than what is known.

    A stamp later than `now` stays newer than all that is known, whenever one looks: then the time counts at
    which the control plane made the pod."""
    if known is None:
        return found.ends
    for run in (known.run, *known.others):
        uid, _, index = run.rpartition("/")
        if uid == found.uid:
            return max(0, found.ends - int(index) - 1)
    return found.ends if (found.at if found.at <= now else found.made) > known.at else 0


def _ended(pod: Json, events: Events, container: str) -> _Ended | None:
    """The ends of a pod; None if its engine has not ended, and nothing has ended the pod. One that a person
    or its Deployment removes has not ended by that."""
    status, uid = container_status(pod, container), pod["metadata"]["uid"]
    before, now = status.get("lastState", {}).get("terminated") or {}, status.get("state", {})
    rejected = _rejection(pod)
    if is_ending(pod) and not rejected:
        return None
    last: Json = now.get("terminated") or before
    if not last and not rejected:
        return None
    lost_sight = before.get("reason") == NEVER_SEEN
    stopped = "running" not in now and bool(last)
    count = status.get("restartCount", 0) - lost_sight + (bool(rejected) or stopped)
    told = events.get(pod["metadata"]["name"], ())
    message = pod["status"].get("message", "") if rejected else _last_words(last.get("message", ""))
    return _Ended(
        uid=uid,
        made=parse_time(pod["metadata"]["creationTimestamp"]),
        ends=min(max(1, count), MOST),
        dead=is_dead(pod),
        at=_ended_at(pod, last),
        cause=rejected or _exit_cause(last, told, _patience(pod, container)),
        node=pod["spec"].get("nodeName", ""),
        exit_code=last.get("exitCode"),
        evidence=evidence(_RUNTIME.sub("", message.strip()), EVIDENCE),
    )


def _ended_at(pod: Json, ended: Json) -> datetime:
    """When a pod or its container ended; a pod that a kubelet refused says only when it was made."""
    known = (condition(pod, kind).get("lastTransitionTime") for kind in ("DisruptionTarget", "Ready"))
    made = pod["metadata"]["creationTimestamp"]
    return max(parse_time(made), parse_time(next(filter(None, (ended.get("finishedAt"), *known, made)))))


def _exit_cause(ended: Json, events: Sequence[PodEvent], patience: timedelta) -> str:
    """Why a container ended, as the kubelet tells.

    Kubelets drop events of a pod that has many: what ran exactly as long as its startup probe lets it was
    killed by that."""
    if ended.get("reason") == "OOMKilled":
        return "container_oomkilled"
    began, at = _stamp(ended.get("startedAt")), _stamp(ended.get("finishedAt"))
    if cause := killed_by_probe(events, began):
        return cause
    code, message = ended.get("exitCode", 1), ended.get("message", "")
    if ended.get("reason") == "StartError":
        return _first(_NOT_STARTED, message, "not_started")
    if _EXEC_FORMAT in message.lower():
        return "other_processor"
    if began and at and code in KILLED and patience <= at - began <= patience + TO_END:
        return "not_ready_in_time"
    return BY_EXIT_CODE.get(code, "crashed")


def _patience(pod: Json, container: str) -> timedelta:
    """How long the startup probe of its engine waits; so long that nothing reaches it, if there is none."""
    ours: Json = next((c for c in pod["spec"].get("containers", []) if c.get("name") == container), {})
    probe = ours.get("startupProbe")
    if not probe:
        return timedelta(days=365)
    tries = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
    return timedelta(seconds=probe.get("initialDelaySeconds", 0) + tries)


def _rejection(pod: Json) -> str:
    """Why the kubelet or the cluster has ended a whole pod, or is about to; empty if they have not."""
    status = pod.get("status", {})
    if status.get("phase") != "Failed":
        return _disruption(pod) if is_ending(pod) else ""
    reason, message = status.get("reason", ""), status.get("message", "")
    if reason == "Evicted":
        return _first(_EVICTED, message, "evicted")
    if reason == "UnexpectedAdmissionError":
        return _first(_NOT_ADMITTED, message, "gpu_lost")
    if reason.startswith("OutOf"):
        return "node_full"
    return _REJECTED.get(reason) or _disruption(pod) or ("pod_failed" if reason else "")


def _disruption(pod: Json) -> str:
    """Why the cluster removes a pod. One whose node is lost has had its Ready condition taken away by the
    cluster, without a reason; a taint that somebody sets leaves it to the kubelet."""
    disrupted, ready = condition(pod, "DisruptionTarget"), condition(pod, "Ready")
    cause = _DISRUPTED.get(disrupted.get("reason", ""), "") if disrupted.get("status") == "True" else ""
    lost = ready.get("status") != "True" and not ready.get("reason")
    return "node_lost" if cause == "tainted" and lost else cause


def _first(known: Sequence[tuple[str, re.Pattern[str]]], message: str, otherwise: str) -> str:
    """The first cause whose words a message has."""
    return next((cause for cause, said in known if said.search(message)), otherwise)


def _stamp(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


def _last_words(message: str) -> str:
    """The last line that may say why it ended."""
    lines = (line.strip() for line in reversed(message.splitlines()))
    return next((line for line in lines if line and not _ECHO.match(line)), "")
