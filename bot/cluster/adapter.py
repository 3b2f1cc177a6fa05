"""The Cluster port on a real Kubernetes API: read from mirrors in memory, changed by single requests."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Unpack

import structlog

from bot.cluster import belongings, dead_pods, ours, state_store
from bot.cluster.annotations import record_patch, whole_patch
from bot.cluster.client import Api, ApiError, Json, connect
from bot.cluster.deployments import Deployments
from bot.cluster.logs import read_log, read_run_log
from bot.cluster.manifests import (
    Objects,
    WorkloadSettings,
    key_command,
    pod_template,
    workload_objects,
)
from bot.cluster.model_cache import ModelCache
from bot.cluster.model_keys import ModelKeys
from bot.cluster.views import ClusterView
from bot.cluster.web_ui_access import WebUiAccess
from bot.core.changes import Listening
from bot.core.chat.errors import Changed, NameTaken, UserError
from bot.core.chat.text import t
from bot.core.deployment.names import object_name
from bot.core.deployment.record import Record, RecordChanges
from bot.core.deployment.shortage import Shortage
from bot.core.deployment.workload import Spec, Workload
from bot.core.ports import Endpoint, Engine, GpuNode, Server, WebUi

log = structlog.get_logger()


class KubernetesCluster:
    """`async with` it: it reads from mirrors that must be kept up to date.

    `url_template` is the address of a model's Service, with `{service}` and `{namespace}`. The
    `engine` runs the models."""

    def __init__(
        self, kubeconfig: str, settings: WorkloadSettings, url_template: str, engine: Engine
    ) -> None:
        self.namespace = settings.namespace
        self._engine, self._url_template = engine, url_template
        self._kubeconfig, self._settings = kubeconfig, settings
        self._core = f"/api/v1/namespaces/{self.namespace}"
        self._model_cache = ModelCache(settings, engine)

    async def __aenter__(self) -> "KubernetesCluster":
        self._api: Api = await connect(self._kubeconfig)
        self._view = ClusterView(self._api, self.namespace, self._engine.container)
        self._deployments = Deployments(self._api, self._view, self.namespace)
        self._keys = ModelKeys(self._api, self._settings, self._engine)
        self._web_ui = WebUiAccess(self._api, self._view, self._keys, self._settings)
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
        return key_command(self._deployments.seen(name))

    async def catch_up(self, name: str) -> None:
        """No request: the watch tells everything in order."""
        if deployment := self._view.deployment(object_name(name)):
            await self._view.deployments.reach(int(deployment["metadata"]["resourceVersion"]))

    async def create(self, spec: Spec, record: Record) -> None:
        """Start a workload; NameTaken when there is one of that name.

        First it is made sure that no object of those names is somebody else's. Then comes the Deployment,
        without pods: its name is the lock. The rest belongs to it and goes with it; with that, its pods."""
        key = await self._keys.make(object_name(spec.name))
        objects = workload_objects(spec, record, self._settings, self._engine, key)
        try:
            await belongings.check(self._api, self._settings, objects)
            deployment = await self._deployments.create(objects["Deployment"])
        except NameTaken:
            raise await self._taken(spec.name, objects["Deployment"]) from None
        except ours.NotOurs as error:
            raise _with_other_name(error, spec.name) from None
        try:
            await self._finish(spec.name, objects, deployment)
        except UserError as error:
            if _may_pass(error):  # then the next sweep finishes it
                log.warning("creation.not_finished", workload=spec.name, why=error.text.key)
                return
            with suppress(UserError):  # the next sweep tries again
                await self._deployments.remove(spec.name)
            raise _with_other_name(error, spec.name) from None

    async def _taken(self, name: str, body: Json) -> UserError:
        """Why the name of a Deployment cannot be used: somebody was faster, the one before is not yet gone,
        or it is not one of the bot's."""
        try:
            await ours.check(self._api, self._deployments.path, body)
        except ours.NotOurs as error:
            return _with_other_name(error, name)
        there = self._view.deployment(object_name(name))
        if there and "deletionTimestamp" in there["metadata"]:
            held = ", ".join(there["metadata"].get("finalizers") or ["–"])
            return NameTaken(t("deploy.not_yet_gone", name=name, held=held))
        return NameTaken(t("deploy.taken_now", name=name))

    async def _finish(self, name: str, objects: Objects, deployment: Json) -> None:
        """Make what the pods of a new Deployment need, unless it is there; then let them be made."""
        await belongings.make(self._api, self._settings, objects, deployment)
        await self._deployments.release(name, deployment)

    async def complete(self, name: str) -> None:
        """Finish what `create` left half made, but for a key that is not known any more: it is looked up in
        memory whether there is anything to do."""
        if not self._deployments.is_half_made(name):
            return
        workload, deployment = self._view.find(name), self._deployments.seen(name)
        key = await self._keys.of(deployment)
        objects = workload_objects(workload.spec, workload.record, self._settings, self._engine, key)
        try:
            await self._finish(name, objects, deployment)
        except ours.NotOurs:
            await self._deployments.remove(name)
            raise

    async def change(self, spec: Spec, record: Record, *, awake: bool, version: str = "") -> None:
        """One patch of the Deployment, whatever of it changes; its template is replaced whole, and rolled out
        also if somebody paused that."""
        deployment = self._deployments.seen(spec.name)
        key = await self._keys.for_pods(deployment, spec, record)
        objects = workload_objects(spec, record, self._settings, self._engine, key)
        if awake and not deployment["spec"]["replicas"]:  # somebody may have removed what its pods need
            await belongings.make(self._api, self._settings, objects, deployment)
        wanted = objects["Deployment"]["spec"]
        wanted["template"]["$patch"], wanted["paused"] = "replace", None
        del wanted["replicas"]
        metadata: Json = {"annotations": whole_patch(spec, record)}
        metadata |= {"resourceVersion": version} if version else {}
        replicas = spec.replicas if awake else 0
        await self._deployments.change(spec.name, metadata, wanted, replicas=replicas)

    async def scale(
        self, name: str, replicas: int, version: str = "", **changes: Unpack[RecordChanges]
    ) -> None:
        """One patch of replicas and annotations: a bot that is killed has written both or neither.

        Whoever starts without a key that is known is made anew."""
        deployment = self._deployments.seen(name)
        found = self._view.find(name)
        if replicas and await self._keys.lost(deployment):
            spec = found.spec.model_copy(update={"replicas": replicas})
            await self.change(spec, found.record.changed(**changes), awake=True, version=version)
            return
        if replicas and not deployment["spec"]["replicas"]:
            key = await self._keys.for_pods(deployment, found.spec, found.record)
            objects = workload_objects(found.spec, found.record, self._settings, self._engine, key)
            await belongings.make(self._api, self._settings, objects, deployment)
        metadata = record_patch(deployment["metadata"], version, **changes)
        await self._deployments.change(name, metadata, replicas=replicas)

    async def update_record(self, name: str, version: str = "", **changes: Unpack[RecordChanges]) -> None:
        """Annotations only: no pod restarts for them."""
        metadata = record_patch(self._deployments.seen(name)["metadata"], version, **changes)
        await self._deployments.change(name, metadata)

    async def remove_dead_pods(self, name: str) -> None:
        """One request per pod."""
        await dead_pods.remove(self._api, self._core, self._view.pods_of(object_name(name)))

    async def remove(self, name: str, version: str = "") -> None:
        """Delete the Deployment; the garbage collector takes what belongs to it."""
        await self._deployments.remove(name, version)

    async def logs(self, name: str, lines: int) -> str:
        """The last lines of the newest pod, of the run before if that one crashed; or nothing."""
        pods = self._view.pods_of(object_name(name))
        return await read_log(self._api, pods[-1], self._engine.container, lines) if pods else ""

    async def log_of_run(self, name: str, run: str, lines: int) -> str:
        """From the pod that it ran in, as long as the kubelet keeps it: that of the last run and of the one
        before."""
        uid, _, index = run.rpartition("/")
        pods = [pod for pod in self._view.pods_of(object_name(name)) if pod["metadata"]["uid"] == uid]
        container = self._engine.container
        return await read_run_log(self._api, pods[0], container, int(index), lines) if pods else ""

    async def endpoint(self, name: str) -> Endpoint:
        """Where it answers. UserError also when its key is not known any more.

        While one replica is ready that is its own address: Services learn of a new pod up to some seconds
        later, and refuse connections until then."""
        workload, service = self._view.find(name), object_name(name)
        if (key := await self._keys.find(self._deployments.seen(name))) is None:
            raise UserError(t("ask.key_unknown", name=workload.name))
        ready = self.servers(name)
        url = self._url_template.format(service=service, namespace=self.namespace)
        return Endpoint(ready[0].url if len(ready) == 1 else url, workload.name, key.value)

    async def cache_on_one_node(self) -> bool:
        """Asked once: the access modes of a claim never change."""
        return len(self.nodes()) > 1 and not await self._model_cache.is_shared(self._api)

    def web_ui(self) -> WebUi | None:
        """The namespace's Open WebUI as last seen, if there is one."""
        return self._web_ui.find()

    async def apply_web_ui(self, names: Sequence[str], owner: str) -> None:
        """Start it, or connect it to these models; chats are on a volume of their own."""
        await self._web_ui.apply({name: self.address(name) for name in names}, owner)

    async def remove_web_ui(self) -> None:
        """Remove all but chats, accounts and the Secret of its keys."""
        await self._web_ui.remove()

    async def load_state(self) -> str:
        """The text that was saved last, from a ConfigMap of the bot's own; empty if none was."""
        return await state_store.load(self._api, self.namespace)

    async def save_state(self, text: str) -> None:
        """Save a text in that ConfigMap, in place of the one before."""
        await state_store.save(self._api, self.namespace, text)

    async def set_state_aside(self, text: str) -> None:
        """In that ConfigMap, under another key."""
        await state_store.set_aside(self._api, self.namespace, text)


def _with_other_name(error: UserError, name: str) -> UserError:
    """The error; if somebody else has the name of an object of the workload, with the advice to rename it."""
    if isinstance(error, ours.NotOurs) and error.text.params["object"] == object_name(name):
        return UserError(error.text, lines=(t("deploy.other_name", name=name),))
    return error


def _may_pass(error: UserError) -> bool:
    """What was not done may be, if it is asked for again."""
    return isinstance(error, Changed) or (isinstance(error, ApiError) and error.passes)
