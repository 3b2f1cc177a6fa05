"""The events that a kubelet writes about its pods: what comes again is counted, not written again."""

from contextlib import suppress

from bot.cluster.client import Api
from bot.core.chat.errors import UserError
from tests.real.pod_status import MERGE_PATCH, Json, stamp


class PodEvents:
    """Writes them; remembers those of the pods that are there."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._told: dict[str, dict[tuple[str, str], tuple[str, int]]] = {}

    async def tell(self, pod: Json, reason: str, message: str, container: str = "") -> None:
        """One that is normal, of the pod or of its container."""
        await self._tell(pod, "Normal", reason, message, container)

    async def warn(self, pod: Json, reason: str, message: str, container: str = "") -> None:
        """One that is a warning."""
        await self._tell(pod, "Warning", reason, message, container)

    def forget(self, pod: Json) -> None:
        """It is gone."""
        self._told.pop(pod["metadata"]["uid"], None)

    async def _tell(self, pod: Json, kind: str, reason: str, message: str, container: str) -> None:
        told = self._told.setdefault(pod["metadata"]["uid"], {})
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/events"
        name, count = told.get((reason, message), ("", 0))
        with suppress(UserError):  # the server is away, or the namespace is about to go
            if name:
                again = {"count": count + 1, "lastTimestamp": stamp()}
                await self._api.request("PATCH", f"{path}/{name}", again, None, MERGE_PATCH)
            else:
                made = await self._api.request("POST", path, _event(pod, kind, reason, message, container))
                name = made["metadata"]["name"]
            told[reason, message] = name, count + 1


def _event(pod: Json, kind: str, reason: str, message: str, container: str) -> Json:
    about = pod["metadata"]
    where = {"fieldPath": f"spec.containers{{{container}}}"} if container else {}
    whom = {"kind": "Pod", "name": about["name"], "namespace": about["namespace"], "uid": about["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{about['name']}.", "namespace": about["namespace"]},
        "involvedObject": whom | where,
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": "kubelet", "host": pod["spec"]["nodeName"]},
        "count": 1,
        "firstTimestamp": stamp(),
        "lastTimestamp": stamp(),
    }
