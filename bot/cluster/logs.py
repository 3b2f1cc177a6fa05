"""The log of a pod."""

from bot.cluster.client import Api, ApiError, Json
from bot.core.failures.redact import redact


async def read_log(api: Api, pod: Json, container: str, lines: int) -> str:
    """The last lines, without secrets; of the run before, if the container waits to be started again."""
    metadata = pod["metadata"]
    status = (pod.get("status", {}).get("containerStatuses") or [{}])[0]
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
