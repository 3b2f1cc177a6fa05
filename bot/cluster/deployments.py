"""The Deployments of models: created by POST, changed by one kind of request, a strategic merge patch.

What a patch leaves out stays as it is; what it names is so afterwards, whoever set it before, and what it
names as None is gone. The template of the pods is replaced whole."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from bot.cluster.annotations import CREATING, wanted_replicas
from bot.cluster.client import JSON_PATCH, MANAGER, STRATEGIC_PATCH, Api, ApiError, Json
from bot.cluster.ours import pointer, unless_gone
from bot.cluster.outcomes import settled
from bot.cluster.views import ClusterView
from bot.core.chat.errors import Changed, UserError
from bot.core.chat.text import t
from bot.core.deployment.names import object_name

RELEASES = 5
"""How often it is tried to give a Deployment its replicas while others change how many these are."""


class Deployments:
    """Writes to the API and tells the view. UserError when a Deployment is gone or a newer version of the bot
    wrote it, Changed when it has changed."""

    def __init__(self, api: Api, view: ClusterView, namespace: str) -> None:
        self._api, self._view, self._namespace = api, view, namespace
        self.path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        """Of all of them in the API."""

    def seen(self, name: str) -> Json:
        """The Deployment of a workload as last seen; UserError when there is none."""
        self._check_format(name)
        if (deployment := self._view.deployment(object_name(name))) is None:
            raise UserError(t("workload.gone", name=name))
        return deployment

    def is_half_made(self, name: str) -> bool:
        """It waits for what its pods need."""
        deployment = self._view.deployment(object_name(name))
        return deployment is not None and CREATING in (deployment["metadata"].get("annotations") or {})

    async def create(self, body: Json) -> Json:
        """Create it without pods; `release` lets them be made. NameTaken if there is one of that name."""
        wanted = str(body["spec"]["replicas"])
        annotations = body["metadata"]["annotations"] | {CREATING: wanted}
        body = body | {
            "metadata": body["metadata"] | {"annotations": annotations},
            "spec": body["spec"] | {"replicas": 0},
        }
        asked = self._api.request("POST", self.path, body, MANAGER)
        path, done = self._path(body["metadata"]["name"]), partial(_holds, annotations=annotations)
        made = await settled(self._api, asked, path, done)
        assert made is not None, "what was created is there"
        self._view.deployments.put(made)
        return made

    async def release(self, name: str, deployment: Json) -> None:
        """Give a Deployment the replicas that it is to have, now that all that its pods need is there."""
        uid = deployment["metadata"]["uid"]
        for _ in range(RELEASES):
            if CREATING not in deployment["metadata"]["annotations"]:
                break
            deployment = await self._there(name, self._try_to_release(deployment))
            if deployment["metadata"]["uid"] != uid:
                break  # it was removed, and this is another one of its name
        self._view.deployments.put(deployment)

    async def _try_to_release(self, deployment: Json) -> Json:
        """The Deployment as it is then: somebody may have changed how many replicas it is to have."""
        uid, wanted = deployment["metadata"]["uid"], wanted_replicas(deployment)
        mark = f"/metadata/annotations/{pointer(CREATING)}"
        steps = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": mark, "value": deployment["metadata"]["annotations"][CREATING]},
            {"op": "remove", "path": mark},
            {"op": "replace", "path": "/spec/replicas", "value": wanted},
        ]
        path = self._path(deployment["metadata"]["name"])
        try:
            found: Json = await self._api.request("PATCH", path, steps, MANAGER, JSON_PATCH, repeatable=True)
        except ApiError as error:
            if error.status != 422:
                raise
            found = await self._api.request("GET", path)
        return found

    async def change(
        self, name: str, metadata: Json, spec: Json | None = None, *, replicas: int | None = None
    ) -> None:
        """One patch: `metadata` with annotations and perhaps the `resourceVersion` that it holds for, other
        fields of the `spec`, and how many replicas it is to have; None: as many as it has.

        It holds for the Deployment that was seen, not for another one of its name."""
        before, spec = self.seen(name)["metadata"], dict(spec or {})
        metadata = {**metadata, "uid": before["uid"]}
        if replicas is not None and self.is_half_made(name):
            metadata["annotations"] = {**metadata["annotations"], CREATING: str(replicas)}
            metadata = {"resourceVersion": before["resourceVersion"]} | metadata
        elif replicas is not None:
            spec["replicas"] = replicas
        body: Json = {"metadata": metadata} | ({"spec": spec} if spec else {})
        path = self._path(object_name(name))
        done = partial(_holds, annotations=metadata["annotations"], uid=before["uid"], replicas=replicas)
        async with self._unchanged(name):
            asked = self._api.request("PATCH", path, body, MANAGER, STRATEGIC_PATCH)
            self._view.deployments.put(await self._there(name, settled(self._api, asked, path, done)))

    async def remove(self, name: str, version: str = "") -> None:
        """Delete the Deployment that was seen, unless it is gone; the garbage collector takes what belongs to
        it. UserError if a finalizer would hold it while its pods run: nobody takes their GPUs from them then,
        and nobody could put it to sleep any more."""
        seen = self.seen(name)
        uid, finalizers = seen["metadata"]["uid"], seen["metadata"].get("finalizers")
        if finalizers and seen["spec"]["replicas"]:
            raise UserError(t("workload.held", name=name, held=", ".join(finalizers)))
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        options["preconditions"] = {"uid": uid} | ({"resourceVersion": version} if version else {})
        path, done = self._path(object_name(name)), partial(_is_gone, uid=uid)
        async with self._unchanged(name):
            await unless_gone(settled(self._api, self._api.request("DELETE", path, options), path, done))
        self._view.deployments.discard((self._namespace, object_name(name)))

    def _path(self, object_name: str) -> str:
        return f"{self.path}/{object_name}"

    def _check_format(self, name: str) -> None:
        """Refuse to touch what a newer version wrote, or what nobody can read."""
        if object_name(name) in self._view.written_by_newer():
            raise UserError(t("workload.newer", name=object_name(name)))
        if why := self._view.unreadable().get(object_name(name)):
            raise UserError(t("workload.unreadable", name=object_name(name), why=why))

    @asynccontextmanager
    async def _unchanged(self, name: str) -> AsyncIterator[None]:
        """If a write is refused because the Deployment has changed, read it, then raise Changed."""
        try:
            yield
        except Changed:
            await self._read_again(name)
            raise Changed(t("error.changed", name=name)) from None
        except ApiError as error:
            if error.status == 422 and await self._read_again(name):  # no uid can be changed
                raise Changed(t("error.changed", name=name)) from None
            raise

    async def _read_again(self, name: str) -> bool:
        """Whether there is another Deployment of this name than the one that was seen."""
        before = self._view.deployment(object_name(name))
        path = self._path(object_name(name))
        found = await self._there(name, self._api.request("GET", path))
        self._view.deployments.put(found)
        return before is None or before["metadata"]["uid"] != found["metadata"]["uid"]

    async def _there(self, name: str, request: Awaitable[Json | None]) -> Json:
        """The answer; UserError if the Deployment is gone."""
        if (found := await unless_gone(request)) is None:
            raise UserError(t("workload.gone", name=name))
        return found


def _holds(
    found: Json | None,
    *,
    annotations: Mapping[str, str | None],
    uid: str = "",
    replicas: int | None = None,
) -> bool:
    """It has these annotations, and none of those that are None; and so many replicas, if that matters."""
    if found is None or (uid and found["metadata"]["uid"] != uid):
        return False
    held = found["metadata"].get("annotations") or {}
    same = all(held.get(name) == text for name, text in annotations.items())
    return same and replicas in (None, wanted_replicas(found))


def _is_gone(found: Json | None, *, uid: str) -> bool:
    return found is None or found["metadata"]["uid"] != uid
