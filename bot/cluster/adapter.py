"""The Cluster port on a real Kubernetes API: read from mirrors in memory, changed by single requests."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Unpack

from cachetools import LRUCache

from bot.cluster import dead_pods, state_store, web_ui
from bot.cluster.annotations import record_patch, replacement
from bot.cluster.client import FIELD_MANAGER, MERGE_PATCH, Api, ApiError, Json, connect
from bot.cluster.logs import read_log, read_run_log
from bot.cluster.manifests import (
    Objects,
    WorkloadSettings,
    hf_secret,
    owned_by,
    pod_template,
    workload_objects,
)
from bot.cluster.model_cache import ModelCache
from bot.cluster.views import ClusterView
from bot.cluster.web_ui import NAME as WEB_UI
from bot.core.changes import Listening
from bot.core.chat.errors import Changed, NameTaken, UserError
from bot.core.chat.text import t
from bot.core.deployment.names import object_name
from bot.core.deployment.record import Record, RecordChanges
from bot.core.deployment.shortage import Shortage
from bot.core.deployment.workload import Spec, Workload
from bot.core.ports import Endpoint, Engine, GpuNode, Server, WebUi

KEYS_KEPT = 1000
MANAGER = {"fieldManager": FIELD_MANAGER}
"""Query of a write: in whose name a field is set."""


class KubernetesCluster:
    """`async with` it: it reads from mirrors that must be kept up to date.

    `url_template` is the address of a model's Service, with `{service}` and `{namespace}`. The
    `engine` runs the models."""

    def __init__(
        self, kubeconfig: str, settings: WorkloadSettings, url_template: str, engine: Engine
    ) -> None:
        self.namespace = settings.namespace
        self._engine = engine
        self._url_template = url_template
        self._kubeconfig = kubeconfig
        self._settings = settings
        self._core = f"/api/v1/namespaces/{self.namespace}"
        self._deployments = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        self._model_cache = ModelCache(settings, engine)
        self._keys: LRUCache[str, str] = LRUCache(KEYS_KEPT)

    async def __aenter__(self) -> "KubernetesCluster":
        self._api: Api = await connect(self._kubeconfig)
        self._view = ClusterView(self._api, self.namespace, self._engine.container)
        try:
            await self._view.start()
        except (UserError, asyncio.CancelledError):
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._view.stop()
        await self._api.close()

    @property
    def synced(self) -> bool:
        """The mirrors know the cluster, and follow it."""
        return self._view.synced

    def workloads(self) -> Sequence[Workload]:
        """Every workload as last seen."""
        return self._view.workloads()

    def find(self, name: str) -> Workload | None:
        """The workload whose objects are called like those of `name`."""
        return self._view.by_object_name(object_name(name))

    def owned_by(self, owner: str) -> Sequence[Workload]:
        """The workloads of the person with this user id."""
        return [workload for workload in self._view.workloads() if workload.record.owner == owner]

    def written_by_newer(self) -> Sequence[str]:
        """Object names of Deployments in a format that this version does not know."""
        return self._view.written_by_newer()

    def unreadable(self) -> Mapping[str, str]:
        """Why what is there cannot be read, by what it is."""
        return self._view.unreadable()

    def nodes(self) -> Sequence[GpuNode]:
        """Nodes with GPUs as last seen."""
        return self._view.nodes()

    def lacks(self, spec: Spec) -> Shortage | None:
        """What a pod of it asks more of than any node with enough GPUs has, were it empty."""
        return self._view.lacks(pod_template(spec, self._settings, self._engine))

    def changes(self) -> Listening:
        """Names of workloads as they change."""
        return self._view.changes()

    def servers(self, name: str) -> Sequence[Server]:
        """Its ready pods by their own addresses; from outside the cluster, by the template of an address."""
        return self._view.servers(object_name(name), self._url_template)

    def address(self, name: str) -> str:
        """Its address inside the cluster."""
        return f"http://{object_name(name)}.{self.namespace}.svc:8000"

    def missing_rights(self) -> Sequence[str]:
        """Resources that the API server does not let us follow, of those that the bot can do without."""
        return self._view.missing_rights()

    def stalled(self) -> Sequence[str]:
        """Resources whose mirrors nothing has brought up to date for a minute."""
        return self._view.stalled()

    def key_command(self, name: str) -> str:
        """A command line that shows the model's API key to whoever may read its Secret."""
        secret = f"{object_name(name)} -o jsonpath='{{.data.api-key}}'"
        return f"kubectl -n {self.namespace} get secret {secret} | base64 -d"

    async def create(self, spec: Spec, record: Record) -> None:
        """Start a workload; NameTaken when there is one of that name.

        The Deployment comes first: its name is the lock. The rest belongs to it and goes with it."""
        objects = workload_objects(spec, record, self._settings, self._engine)
        claim = asyncio.create_task(
            self._api.create_once(f"{self._core}/persistentvolumeclaims", objects["PersistentVolumeClaim"])
        )
        try:
            deployment = await self._api.request("POST", self._deployments, objects["Deployment"], MANAGER)
            self._view.deployments.put(deployment)
            self._keys.pop(object_name(spec.name), None)
            await self._apply_rest(objects, deployment, "Secret", "Service")
        except NameTaken:
            raise NameTaken(t("deploy.taken_now", name=spec.name)) from None
        finally:
            await claim

    async def _apply_rest(self, objects: Objects, deployment: Json, *kinds: str) -> None:
        paths = {"Secret": f"{self._core}/secrets", "Service": f"{self._core}/services"}
        wanted = [self._api.create_or_apply(paths[k], owned_by(objects[k], deployment)) for k in kinds]
        if self._settings.hf_token:
            wanted.append(self._api.apply(paths["Secret"], hf_secret(self._settings)))
        await asyncio.gather(*wanted)

    async def complete(self, spec: Spec) -> None:
        """Make what a crash in `create` left out; a key that is there is kept."""
        name = object_name(spec.name)
        if (deployment := self._view.deployment(name)) is None:
            return
        objects = workload_objects(spec, self._view.find(spec.name).record, self._settings, self._engine)
        await self._api.create_once(f"{self._core}/persistentvolumeclaims", objects["PersistentVolumeClaim"])
        has_key = await self._api.exists(f"{self._core}/secrets/{name}")
        await self._apply_rest(objects, deployment, "Service", *(() if has_key else ("Secret",)))

    async def change(self, spec: Spec, record: Record, *, awake: bool, version: str = "") -> None:
        """Server-side apply of the Deployment: one step, whatever of it changes.

        It names the Deployment's uid: an apply to one that was removed meanwhile would create it again."""
        before = self._metadata(spec.name)
        deployment = workload_objects(spec, record, self._settings, self._engine)["Deployment"]
        metadata: Json = deployment["metadata"]
        metadata["annotations"] |= replacement(record, before)
        metadata |= {"uid": before["uid"]} | ({"resourceVersion": version} if version else {})
        deployment["spec"]["replicas"] = spec.replicas if awake else 0
        async with self._unchanged(spec.name):
            self._view.deployments.put(await self._api.apply(self._deployments, deployment))

    async def scale(
        self, name: str, replicas: int, version: str = "", **changes: Unpack[RecordChanges]
    ) -> None:
        """One patch of replicas and annotations: a bot that is killed has written both or neither."""
        metadata = record_patch(self._metadata(name), version, **changes)
        await self._patch(name, {"metadata": metadata, "spec": {"replicas": replicas}})

    async def update_record(self, name: str, version: str = "", **changes: Unpack[RecordChanges]) -> None:
        """Annotations only: no pod restarts for them."""
        await self._patch(name, {"metadata": record_patch(self._metadata(name), version, **changes)})

    async def remove_dead_pods(self, name: str) -> None:
        """One request per pod."""
        await dead_pods.remove(self._api, self._core, self._view.pods_of(object_name(name)))

    async def remove(self, name: str, version: str = "") -> None:
        """Delete the Deployment; the garbage collector takes what belongs to it."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if version:
            options["preconditions"] = {"resourceVersion": version}
        async with self._unchanged(name):
            await self._one("DELETE", name, options)
        self._keys.pop(object_name(name), None)
        self._view.deployments.discard((self.namespace, object_name(name)))

    async def logs(self, name: str, lines: int) -> str:
        """The last lines of the newest pod, of the run before if that one crashed; or nothing."""
        pods = self._view.pods_of(object_name(name))
        return await read_log(self._api, pods[-1], self._engine.container, lines) if pods else ""

    async def log_of_run(self, name: str, run: str, lines: int) -> str:
        """From the pod that it ran in, as long as the kubelet keeps it: that of the last run and of the one
        before."""
        uid, _, index = run.rpartition("/")
        pods = [pod for pod in self._view.pods_of(object_name(name)) if pod["metadata"]["uid"] == uid]
        if not pods:
            return ""
        return await read_run_log(self._api, pods[0], self._engine.container, int(index), lines)

    async def endpoint(self, name: str) -> Endpoint:
        """Where it answers; the key is read once and kept in memory.

        While one replica is ready that is its own address: Services learn of a new pod up to some seconds
        later, and refuse connections until then."""
        workload, service = self._view.find(name), object_name(name)
        if service not in self._keys:
            secret = await self._api.request("GET", f"{self._core}/secrets/{service}")
            self._keys[service] = base64.b64decode(secret["data"]["api-key"]).decode()
        ready = self.servers(name)
        url = self._url_template.format(service=service, namespace=self.namespace)
        url = ready[0].url if len(ready) == 1 else url
        return Endpoint(url, workload.name, self._keys[service])

    async def cache_on_one_node(self) -> bool:
        """Asked once: the access modes of a claim never change."""
        return len(self.nodes()) > 1 and not await self._model_cache.is_shared(self._api)

    def web_ui(self) -> WebUi | None:
        """The namespace's Open WebUI as last seen, if there is one."""
        found = self._view.deployment(WEB_UI)
        return web_ui.read_web_ui(found, self._settings) if found else None

    async def apply_web_ui(self, names: Sequence[str], owner: str) -> None:
        """Start it, or connect it to these models; chats are on a volume of their own."""
        connections = {n: (f"{self.address(n)}/v1", (await self.endpoint(n)).api_key) for n in names}
        deployment = await web_ui.apply(self._api, connections, owner, self._settings)
        self._view.deployments.put(deployment)

    async def remove_web_ui(self) -> None:
        """Remove all but chats, accounts and the secret that signs sessions."""
        await web_ui.remove(self._api, self._settings)
        self._view.deployments.discard((self.namespace, WEB_UI))

    async def load_state(self) -> str:
        """The text that was saved last, from a ConfigMap of the bot's own; empty if none was."""
        return await state_store.load(self._api, self.namespace)

    async def save_state(self, text: str) -> None:
        """Save a text in that ConfigMap, in place of the one before."""
        await state_store.save(self._api, self.namespace, text)

    async def set_state_aside(self, text: str) -> None:
        """In that ConfigMap, under another key."""
        await state_store.set_aside(self._api, self.namespace, text)

    def _check_format(self, name: str) -> None:
        """Refuse to touch what a newer version wrote, or what nobody can read."""
        if object_name(name) in self._view.written_by_newer():
            raise UserError(t("workload.newer", name=object_name(name)))
        if why := self._view.unreadable().get(object_name(name)):
            raise UserError(t("workload.unreadable", name=object_name(name), why=why))

    def _metadata(self, name: str) -> Json:
        """The metadata of its Deployment as last seen; UserError when there is none."""
        self._check_format(name)
        if (deployment := self._view.deployment(object_name(name))) is None:
            raise UserError(t("workload.gone", name=name))
        return dict(deployment["metadata"])

    async def _patch(self, name: str, body: Json) -> None:
        async with self._unchanged(name):
            self._view.deployments.put(await self._one("PATCH", name, body, MANAGER, MERGE_PATCH))

    @asynccontextmanager
    async def _unchanged(self, name: str) -> AsyncIterator[None]:
        """If a write is refused because the Deployment has changed, read it, then raise Changed."""
        try:
            yield
        except Changed:
            self._view.deployments.put(await self._one("GET", name))
            raise Changed(t("error.changed", name=name)) from None

    async def _one(
        self,
        method: str,
        name: str,
        body: Json | None = None,
        query: Json | None = None,
        content_type: str = "application/json",
    ) -> Any:
        self._check_format(name)
        path = f"{self._deployments}/{object_name(name)}"
        try:
            return await self._api.request(method, path, body, query, content_type)
        except ApiError as error:
            if error.status == 404:
                raise UserError(t("workload.gone", name=name)) from None
            raise
