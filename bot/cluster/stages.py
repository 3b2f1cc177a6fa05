"""How long the stages of a pod's start took, by the stamps that the cluster has set."""

from collections.abc import Sequence

from bot.cluster.client import Json
from bot.cluster.endings import Events
from bot.cluster.pod_events import PodEvent, pull_seconds
from bot.cluster.pod_fields import condition, container_status, is_ready, parse_time, server_id
from bot.core.deployment.start_times import Stages


def first_stages(pods: Sequence[Json], container: str, events: Events) -> Stages | None:
    """The stages of the start of the pod that has answered longest; None if none answers, or they are not
    known."""
    answers = [pod for pod in pods if is_ready(pod)]
    if not answers:
        return None
    first = min(answers, key=lambda pod: parse_time(condition(pod, "Ready").get("lastTransitionTime")))
    return start_stages(first, container, events.get(first["metadata"]["name"], ()))


def start_stages(pod: Json, container: str, events: Sequence[PodEvent]) -> Stages | None:
    """The stages of the start of a pod that answers, by the container that its engine runs in.

    None if it does not answer, a stamp is missing, or its engine was started again: the stamps are those of
    the last time."""
    status = container_status(pod, container)
    stamps = (
        pod["metadata"]["creationTimestamp"],
        condition(pod, "PodScheduled").get("lastTransitionTime"),
        pod.get("status", {}).get("startTime"),
        status.get("state", {}).get("running", {}).get("startedAt"),
        condition(pod, "Ready").get("lastTransitionTime"),
    )
    if not is_ready(pod) or status.get("restartCount") or not all(stamps):
        return None
    created, placed, admitted, began, ready = map(parse_time, stamps)
    return Stages(
        run=server_id(pod, container),
        created=created,
        waiting=(placed - created).total_seconds(),
        preparing=(began - admitted).total_seconds(),
        pulling=pull_seconds(events),
        running=(ready - began).total_seconds(),
    )
