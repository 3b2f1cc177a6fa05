"""Removes pods that have ended: a Deployment makes others and leaves them, thousands in an eviction storm."""

from collections.abc import Sequence

from bot.cluster.client import Api, ApiError, Json
from bot.cluster.pod_fields import is_dead, is_ending
from bot.core.chat.errors import Changed


async def remove(api: Api, core: str, pods: Sequence[Json]) -> None:
    """Remove the dead ones of a workload's `pods`, the newest last, but not the newest of all: its log can be
    read. `core` is the path of the namespace. Each request carries the uid of its pod, so that it removes no
    other one."""
    dead = [pod for pod in pods if is_dead(pod) and not is_ending(pod)]
    if dead and dead[-1] is pods[-1]:
        dead.pop()
    for pod in dead:
        metadata = pod["metadata"]
        try:
            await api.request(
                "DELETE", f"{core}/pods/{metadata['name']}", {"preconditions": {"uid": metadata["uid"]}}
            )
        except Changed:
            pass  # another pod has its name by now
        except ApiError as error:
            if error.status != 404:
                raise
