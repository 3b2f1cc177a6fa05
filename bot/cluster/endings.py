"""How the runs of a workload's engine have ended, from its pods and from what is written down of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from bot.cluster.client import Json
from bot.cluster.pod_events import PodEvent, killed_by_probe
from bot.cluster.pod_fields import condition, container_status, parse_time
from bot.core.deployment.ending import BY_EXIT_CODE, MUTE, Ending
from bot.core.failures.redact import redact

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
    "Evicted": "evicted",
    "UnexpectedAdmissionError": "gpu_lost",
    "Preempting": "preempted",
    "Preempted": "preempted",
    "NodeShutdown": "node_shutdown",
    "Shutdown": "node_shutdown",
    "Terminated": "node_shutdown",
    "NodeLost": "node_lost",
    "NodeAffinity": "node_refused",
}
"""Causes by the reason of a pod that has failed; one that begins with `OutOf` is `node_full`."""
_DISRUPTED = {
    "TerminationByKubelet": "evicted",
    "PreemptionByScheduler": "preempted",
    "DeletionByTaintManager": "node_lost",
    "DeletionByPodGC": "node_lost",
}
"""Causes by the reason of the condition DisruptionTarget."""


class _Ended(NamedTuple):
    """The runs of one pod that have ended, the last of them in detail."""

    uid: str
    ends: int
    at: datetime
    cause: str
    exit_code: int | None
    evidence: str


def last_ending(
    pods: Sequence[Json], events: Events, known: Ending | None, *, container: str
) -> Ending | None:
    """How the last run ended: as the `pods` tell, or as it is `known` from the record if that is as new;
    None if none has ended.

    A cause that a log has given stands until a run ends otherwise, or its own log has been read."""
    ended = [found for pod in pods if (found := _ended(pod, events, container))]
    fresh = sum(_unseen(found, known) for found in ended)
    if not fresh:
        return known
    last = max(ended, key=lambda found: found.at)
    cause, evidence, exit_code = last.cause, last.evidence, last.exit_code
    counted = known.number if known else 0
    if known and counted and cause in MUTE and (known.log_read and known.exit_code == exit_code):
        cause, evidence = known.cause, known.evidence
    same = known if known and counted and known.cause == cause else None
    return Ending(
        number=counted + fresh,
        run=f"{last.uid}/{last.ends - 1}",
        at=last.at,
        cause=cause,
        exit_code=exit_code,
        evidence=(same and same.evidence) or evidence,
        alike=(same.alike if same else 0) + fresh,
        fitting_context=known.fitting_context if known and known.cause == cause else 0,
        log_read=last.cause not in LOGS_SAY_MORE,
    )


def _unseen(found: _Ended, known: Ending | None) -> int:
    """How many ends of a pod are newer than what is known."""
    if known is None:
        return found.ends
    uid, _, index = known.run.rpartition("/")
    if uid == found.uid:
        return max(0, found.ends - int(index) - 1)
    return found.ends if found.at > known.at else 0


def _ended(pod: Json, events: Events, container: str) -> _Ended | None:
    """The ends of a pod; None if its engine has not ended, and it was not rejected."""
    status, uid = container_status(pod, container), pod["metadata"]["uid"]
    before, now = status.get("lastState", {}).get("terminated"), status.get("state", {})
    last: Json = now.get("terminated") or before or {}
    count = int(status.get("restartCount", 0)) + ("running" not in now and bool(last))
    told = events.get(pod["metadata"]["name"], ())
    rejected = _rejection(pod)
    if not last and not rejected:
        return None
    at = last.get("finishedAt") or condition(pod, "Ready").get("lastTransitionTime")
    cause = rejected or _exit_cause(last, told, _patience(pod, container))
    message = pod["status"].get("message", "") if rejected else _last_line(last.get("message", ""))
    evidence = redact(message.strip()[:EVIDENCE])
    when = parse_time(at or pod["metadata"]["creationTimestamp"])  # one that was refused has no conditions
    return _Ended(uid, max(1, count), when, cause, last.get("exitCode"), evidence)


def _exit_cause(ended: Json, events: Sequence[PodEvent], patience: timedelta) -> str:
    """Why a container ended, as the kubelet tells.

    Kubelets drop events of a pod that has many: what ran exactly as long as its startup probe lets it was
    killed by that."""
    if ended.get("reason") == "OOMKilled":
        return "container_oomkilled"
    began, at = _stamp(ended.get("startedAt")), _stamp(ended.get("finishedAt"))
    if cause := killed_by_probe(events, began):
        return cause
    code = int(ended.get("exitCode", 1))
    if began and at and code in KILLED and patience <= at - began <= patience + TO_END:
        return "not_ready_in_time"
    return BY_EXIT_CODE.get(code, "crashed")


def _patience(pod: Json, container: str) -> timedelta:
    """How long the startup probe of its engine waits; so long that nothing reaches it, if there is none."""
    ours: Json = next((c for c in pod["spec"].get("containers", []) if c["name"] == container), {})
    probe = ours.get("startupProbe")
    if not probe:
        return timedelta(days=365)
    tries = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
    return timedelta(seconds=probe.get("initialDelaySeconds", 0) + tries)


def _rejection(pod: Json) -> str:
    """Why the kubelet or the cluster has ended a whole pod; empty if they have not."""
    status = pod.get("status", {})
    if status.get("phase") != "Failed":
        return ""
    reason = status.get("reason", "")
    if reason.startswith("OutOf"):
        return "node_full"
    disrupted = condition(pod, "DisruptionTarget").get("reason", "")
    return _REJECTED.get(reason) or _DISRUPTED.get(disrupted, "")


def _stamp(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _last_line(message: str) -> str:
    lines = [line for line in message.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
