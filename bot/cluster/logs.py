"""The log of a container."""

from bot.cluster.client import Api, ApiError, Json
from bot.cluster.pod_fields import container_status
from bot.core.failures.redact import redact


async def read_log(api: Api, pod: Json, container: str, lines: int) -> str:
    """The container's last lines, without secrets; of the run before if it waits to be started again.

    Empty if it has not started yet or is gone."""
    metadata = pod["metadata"]
    status = container_status(pod, container)
    query = {"tailLines": str(lines), "container": container}
    if "waiting" in status.get("state", {}) and status.get("restartCount", 0):
        query["previous"] = "true"
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
    try:
        return redact(str(await api.request("GET", path, query=query)))
    except ApiError as error:
        if error.status in (400, 404):  # not started yet, or just gone
            return ""
        raise
