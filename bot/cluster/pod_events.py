"""What the events of a pod tell that its status does not: pulls, probes that kill, mounts that fail."""

import re
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from bot.cluster.client import Json
from bot.cluster.pod_fields import parse_time
from bot.cluster.shapes import EVENT
from bot.cluster.waits import volume_wait
from bot.core.frozen import LONGEST_SECONDS

OF_PODS = "involvedObject.kind=Pod,reason!=Scheduled,reason!=Created,reason!=Started"
"""Field selector of events: what every start has is not asked for."""
PULLING, PULLED, KILLING, FAILED = "Pulling", "Pulled", "Killing", "Failed"
NOT_PULLED = "Failed to pull image"
"""How an event `Failed` begins that says why a pull failed."""
_TOOK = re.compile(r" in (?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d+(?:\.\d*)?)(m?)s)?(?: |$)")
"""How long a pull took: `Successfully pulled image "…" in 1m2.345s (1m3s including waiting). …`; kubelets
before 1.20 do not tell."""
_WAS_THERE = "already present on machine"
TROUBLE = {
    "FailedMount": "mount",
    "FailedAttachVolume": "mount",
    "FailedMapVolume": "mount",
    "VolumePermissionChangeInProgress": "mount",
    "FailedCreatePodSandBox": "sandbox",
    "FailedPodSandBoxStatus": "sandbox",
    "NetworkNotReady": "sandbox",
    "FailedPrepareDynamicResources": "start",
}
"""Reasons of events that tell why a container is not created, and the sentence `[waits]`; the status
of the pod does not tell. Of the volume's permissions and of dynamic resources only newer kubelets tell."""
_NO_REASON = re.compile(r"^Unable to (attach or )?mount .*(timed out|timeout|deadline)|failed to sync")
"""What a kubelet says of volumes that are not mounted, when it does not know why: the cluster may have said
that once before, while this comes again and again."""
PROBES = {"startup probe": "not_ready_in_time", "liveness probe": "stopped_answering"}
"""Causes by what the event `Killing` says: `Container vllm failed startup probe, will be restarted`."""


class PodEvent(NamedTuple):
    """What is kept of an event."""

    name: str
    """Its own name."""
    pod: str
    """The name of the pod that it is about."""
    reason: str
    message: str
    """What happened, as a kubelet wrote it."""
    last: str
    """When it happened last, as the API writes it."""
    times: int = 1
    """How often it happened."""


def reduce_event(event: Json) -> PodEvent | None:
    """What to keep of an event; None if it tells nothing that is needed."""
    event = EVENT(event) or {}
    if not event:
        return None
    reason = event.get("reason", "")
    pod, message = event["involvedObject"]["name"], event.get("message", "").strip()
    not_pulled = reason == FAILED and message.startswith(NOT_PULLED)
    if reason not in (PULLING, PULLED, KILLING, *TROUBLE) and not not_pulled:
        return None
    series = event.get("series") or {}
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    times = event.get("count") or series.get("count") or 1
    return PodEvent(event["metadata"]["name"], pod, reason, message, last, times)


def is_pulling(events: Collection[PodEvent]) -> bool:
    """An image is being pulled for the pod."""
    began = max((event.last for event in events if event.reason == PULLING), default="")
    ended = max((event.last for event in events if event.reason == PULLED), default="")
    return began > ended


def pull_seconds(events: Collection[PodEvent]) -> float | None:
    """How long the images of a pod were pulled, the longest of them; 0 if all were there. None if that is
    not known, or it took more than one try."""
    tries = sum(event.times for event in events if event.reason == PULLING)
    ended = [_took(event.message) for event in events if event.reason == PULLED]
    known = [seconds for seconds in ended if seconds is not None]
    return max(known) if known and len(known) == len(ended) and tries <= len(ended) else None


def _took(message: str) -> float | None:
    if _WAS_THERE in message:
        return 0.0
    found = _TOOK.search(message)
    if not found:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups()[:3])
    took = 3600 * hours + 60 * minutes + (seconds / 1000 if found[4] else seconds)
    return min(took, LONGEST_SECONDS)


def trouble(events: Collection[PodEvent]) -> tuple[str, str]:
    """Why its container is not created: the end of a sentence's name, and what the kubelet wrote; empty if
    nothing stops it."""
    found = [event for event in events if event.reason in TROUBLE]
    last = max(found, key=lambda event: (_says_why(event), event.last), default=None)
    if last is None:
        return "", ""
    wait = TROUBLE[last.reason]
    return volume_wait(last.message) if wait == "mount" else wait, last.message


def _says_why(event: PodEvent) -> bool:
    return not _NO_REASON.search(event.message)


def failed_pull(events: Collection[PodEvent]) -> str:
    """What was said of the last pull that failed; empty: nothing was."""
    found = [event for event in events if event.reason == FAILED]
    last = max(found, key=lambda event: event.last, default=None)
    return last.message.partition('": ')[2] if last else ""


def killed_by_probe(events: Collection[PodEvent], started: datetime | None) -> str:
    """The cause, if the kubelet has killed a container that began at `started` because of a probe; else
    empty."""
    for event in events:
        when = parse_time(event.last) if event.last else None
        if event.reason == KILLING and (started is None or when is None or when >= started):
            for probe, cause in PROBES.items():
                if probe in event.message:
                    return cause
    return ""
