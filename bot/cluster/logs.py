"""The log of a container."""

from bot.cluster.client import Api, ApiError, Json
from bot.cluster.pod_fields import container_status
from bot.core.failures.redact import redact

LONGEST = 2**20
"""Bytes of a log that are read at once: of more, reading takes seconds in which the bot does nothing else."""


async def read_log(api: Api, pod: Json, container: str, lines: int) -> str:
    """The container's last lines, without secrets; of the run before if it waits to be started again.

    Empty if it has not started yet or is gone."""
    status = container_status(pod, container)
    previous = "waiting" in status.get("state", {}) and bool(status.get("restartCount", 0))
    return await _read(api, pod, container, lines, previous=previous)


async def read_run_log(api: Api, pod: Json, container: str, run: int, lines: int) -> str:
    """The last lines of the container's run with this number (the first is 0), without secrets; empty if the
    kubelet does not keep them any more: it keeps two runs."""
    behind = int(container_status(pod, container).get("restartCount", 0)) - run
    return await _read(api, pod, container, lines, previous=behind == 1) if behind in (0, 1) else ""


async def _read(api: Api, pod: Json, container: str, lines: int, *, previous: bool) -> str:
    """Fewer lines if they are longer than LONGEST together: a limit of the API cuts the end."""
    metadata = pod["metadata"]
    query = {"container": container, "limitBytes": str(LONGEST)} | ({"previous": "true"} if previous else {})
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
    try:
        text = str(await api.request("GET", path, query=query | {"tailLines": str(lines)}))
        while len(text.encode()) >= LONGEST and lines > 1:
            lines = max(1, lines // 10)
            text = str(await api.request("GET", path, query=query | {"tailLines": str(lines)}))
        return redact(text)
    except ApiError as error:
        if error.status in (400, 404):  # not started yet, or just gone
            return ""
        raise
