"""What is read of a pod in several places."""

from collections.abc import Callable
from datetime import UTC, datetime

from bot.cluster.client import Json
from bot.cluster.resources import amount, whole_amount
from bot.core.frozen import MOST, saturated

GPU_RESOURCE = "nvidia.com/gpu"

Now = Callable[[], datetime]
"""What tells the time."""


def utc_now() -> datetime:
    """What time it is."""
    return datetime.now(UTC)


def is_ready(pod: Json) -> bool:
    """Whether it answers, and is not about to end."""
    return not is_ending(pod) and condition(pod, "Ready").get("status") == "True"


def is_ending(pod: Json) -> bool:
    """It is being removed."""
    return "deletionTimestamp" in pod["metadata"]


def is_dead(pod: Json) -> bool:
    """It has ended, and nothing will run in it again: its Deployment has made another one."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def container_status(pod: Json, container: str) -> Json:
    """What the kubelet says of one container; empty before it says anything.

    By name: a mesh or an operator may put containers of its own before ours."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == container), {})


def server_id(pod: Json, container: str) -> str:
    """Names one run of the server in a pod: another one after each restart, as its counters begin again."""
    return f"{pod['metadata']['uid']}/{container_status(pod, container).get('restartCount', 0)}"


def requests_of(pod: Json, resource: str) -> list[str]:
    """How much each container of a pod asks for of a resource, as Kubernetes writes it."""
    asked = [c.get("resources", {}).get("requests", {}) for c in pod["spec"].get("containers", [])]
    return [str(requests[resource]) for requests in asked if resource in requests]


def gpus_of(pod: Json) -> int:
    """How many GPUs all containers of a pod ask for together."""
    return min(MOST, sum(map(whole_amount, requests_of(pod, GPU_RESOURCE))))


def asked_of(pod: Json, resource: str) -> float:
    """What all containers of a pod ask for together of `cpu` (in cores) or `memory` (in bytes)."""
    return sum(map(amount, requests_of(pod, resource)))


def parse_time(stamp: str | None) -> datetime:
    """An API timestamp, or now if there is none yet; a time that nobody means saturates."""
    return saturated(datetime.fromisoformat(stamp)) if stamp else utc_now()


def condition(pod: Json, kind: str) -> Json:
    """A condition of the pod; empty if it has none of that kind."""
    conditions = pod.get("status", {}).get("conditions") or []
    return next((found for found in conditions if found["type"] == kind), {})
