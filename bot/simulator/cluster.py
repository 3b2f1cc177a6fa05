"""The Cluster port in memory: nodes with GPUs, and pods whose start goes on by the clock."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Unpack

from bot.core.changes import Changes, Listening
from bot.core.chat.errors import Changed, NameTaken, UserError
from bot.core.chat.text import t
from bot.core.deployment.names import object_name
from bot.core.deployment.record import Record, RecordChanges
from bot.core.deployment.shortage import Shortage
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.ports import Clock, Endpoint, GpuNode, Server, WebUi
from bot.simulator.pods import Pod, SimulatedWorkload, gpus_by_node
from bot.simulator.timeline import FAILURES, timeline

WEB_UI_STARTS = 30.0
"""Seconds until Open WebUI is ready."""


class SimulatedCluster:
    """A cluster of one namespace; its time is that of `clock`.

    `nodes` are numbers of GPUs by name of the node, `url` is the address of the simulated servers."""

    def __init__(
        self,
        clock: Clock,
        nodes: dict[str, int] | None = None,
        url: str = "http://127.0.0.1:9",
        namespace: str = "demo",
    ) -> None:
        self.namespace = namespace
        self.url = url
        self.causes = tuple(FAILURES)
        """The causes that `fail` can simulate."""
        self.cordoned: set[str] = set()
        """The names of nodes that take no new pods."""
        self._clock = clock
        self.capacity = {"icc-gpu-1": 4, "icc-gpu-2": 4} if nodes is None else nodes
        """GPUs of each node, by its name."""
        self._running: dict[str, SimulatedWorkload] = {}
        self._versions = count(1)
        self._images: set[str] = set()
        self._models: set[str] = set()
        self._changes = Changes()
        self._free: dict[str, int] = {}
        """What was free on each node when listeners last heard of it."""
        self._state = ""
        self._web_ui: tuple[datetime, tuple[str, ...], str] | None = None

    async def run(self) -> None:
        """Call `step` every second of the clock; it never ends."""
        while True:
            self.step()
            await self._clock.sleep(1)

    def step(self) -> None:
        """Bring everything up to what has happened by now."""
        for running in sorted(self._running.values(), key=lambda r: r.queued):
            self._schedule(running)
        for running in self._running.values():
            workload = running.view(self._clock.now())
            seen = (workload.phase, workload.nodes, workload.placed_replicas, workload.ready_replicas)
            if seen != running.seen:
                running.seen = seen
                running.version = next(self._versions)
                self._changes.tell(running.spec.name)
        self._tell_those_that_wait()

    def _tell_those_that_wait(self) -> None:
        """They change with what is free."""
        free = {node.name: node.free for node in self.nodes()}
        if free != self._free:
            self._free = free
            for running in self._running.values():
                if running.record.queued_since:
                    self._changes.tell(running.spec.name)

    def _schedule(self, running: SimulatedWorkload) -> None:
        now = self._clock.now()
        for pod in running.pods:
            tp = running.spec.tensor_parallel_size
            if not pod.node and (node := self._node_for(tp, running.record.last_nodes)):
                pod.node = node
                image_there, cached = node in self._images, running.spec.repo in self._models
                pod.timeline = timeline(running.spec, now, image_there=image_there, cached=cached)
            if pod.timeline and pod.timeline.phase(now)[0] is Phase.READY:
                self._images.add(pod.node)
                self._models.add(running.spec.repo)

    def _node_for(self, tp: int, preferred: Sequence[str]) -> str | None:
        """One of the preferred nodes, if it has enough free GPUs; else the one with the fewest that are
        enough, so that large models still find a place. None if none has."""
        fitting = [node for node in self.nodes() if node.free >= tp]
        best = min(fitting, key=lambda node: (node.name not in preferred, node.free), default=None)
        return best.name if best else None

    def nodes(self) -> Sequence[GpuNode]:
        """Every node."""
        used = gpus_by_node(self._running.values())
        return [
            GpuNode(name, total, dict(used.get(name, {})), name not in self.cordoned)
            for name, total in self.capacity.items()
        ]

    def lacks(self, spec: Spec) -> Shortage | None:
        """Its nodes have as much CPU and memory as anybody wants."""
        return None

    def workloads(self) -> Sequence[Workload]:
        """Every workload as it is now."""
        return [running.view(self._clock.now()) for running in self._running.values()]

    def find(self, name: str) -> Workload | None:
        """The workload whose objects have the same name as those of `name`; None if there is none."""
        running = self._running.get(object_name(name))
        return running.view(self._clock.now()) if running else None

    def owned_by(self, owner: str) -> Sequence[Workload]:
        """The workloads of the person with this user id."""
        return [workload for workload in self.workloads() if workload.record.owner == owner]

    def written_by_newer(self) -> Sequence[str]:
        """None: nothing outlives the simulator."""
        return []

    def unreadable(self) -> Mapping[str, str]:
        """Nothing: it is all here."""
        return {}

    def changes(self) -> Listening:
        """The names of workloads as they change."""
        return self._changes.listening()

    async def catch_up(self, name: str) -> None:
        """Do nothing: everything is seen at once."""

    async def create(self, spec: Spec, record: Record) -> None:
        """Start a workload; NameTaken when there is one of that name."""
        if object_name(spec.name) in self._running:
            raise NameTaken(t("deploy.taken_now", name=spec.name))
        now = self._clock.now()
        replicas = 0 if record.queued_since else spec.replicas
        pods = [Pod() for _ in range(replicas)]
        self._running[object_name(spec.name)] = SimulatedWorkload(
            spec, record, now, next(self._versions), replicas, now, now, pods
        )
        self.step()

    async def complete(self, name: str) -> None:
        """Do nothing: nothing is half made here."""

    async def change(self, spec: Spec, record: Record, *, awake: bool, version: str = "") -> None:
        """Set spec and record. Other arguments start all replicas again; another number of replicas only adds
        or removes some."""
        running = self._find(spec.name, version)
        same_arguments = running.spec.model_copy(update={"replicas": spec.replicas}) == spec
        running.record = record
        running.spec = spec
        if not same_arguments:
            running.pods.clear()
        running.set_replicas(spec.replicas if awake else 0, self._clock.now())
        self._changed(running)

    async def scale(
        self, name: str, replicas: int, version: str = "", **changes: Unpack[RecordChanges]
    ) -> None:
        """Set the replicas, and fields of the record."""
        running = self._find(name, version)
        running.record = running.record.changed(**changes)
        running.set_replicas(replicas, self._clock.now())
        self._changed(running)

    async def update_record(self, name: str, version: str = "", **changes: Unpack[RecordChanges]) -> None:
        """Set fields of the record."""
        running = self._find(name, version)
        running.record = running.record.changed(**changes)
        self._changed(running)

    async def remove_dead_pods(self, name: str) -> None:
        """Do nothing: pods that have ended do not stay here."""

    async def remove(self, name: str, version: str = "") -> None:
        """Remove the workload."""
        self._find(name, version)
        self._running.pop(object_name(name))
        self._changes.tell(name)
        self.step()

    async def logs(self, name: str, lines: int) -> str:
        """The last lines of the first pod's log."""
        running = self._find(name)
        now = self._clock.now()
        written = [pod.timeline.log(now) for pod in running.pods if pod.timeline]
        return "\n".join(written[0][-lines:]) if written else ""

    async def log_of_run(self, name: str, run: str, lines: int) -> str:
        """As `logs`: what crashed here is not started again."""
        return await self.logs(name, lines)

    async def cache_on_one_node(self) -> bool:
        """Every node has all weights."""
        return False

    async def endpoint(self, name: str) -> Endpoint:
        """Its address and key."""
        running = self._find(name)
        return Endpoint(f"{self.url}/{object_name(name)}", running.spec.name, f"key-{name}")

    def servers(self, name: str) -> Sequence[Server]:
        """Its ready replicas; all share one server here."""
        running = self._find(name)
        url = f"{self.url}/{object_name(name)}"
        return [Server(server, url) for server in running.servers(self._clock.now())]

    def address(self, name: str) -> str:
        """Its address inside the cluster."""
        return f"http://{object_name(name)}.{self.namespace}.svc:8000"

    def key_command(self, name: str) -> str:
        """The command line that would show the key on a real cluster."""
        return f"kubectl -n {self.namespace} get secret {object_name(name)} -o yaml"

    def fail(self, name: str, cause: str) -> None:
        """Let its servers crash now; the last line of their log shows this cause, one of `causes`."""
        running = self._find(name)
        for pod in running.pods:
            if pod.timeline:
                pod.timeline = replace(pod.timeline, fails=FAILURES[cause], crashed=self._clock.now())
        self._changed(running)

    def hang(self, name: str) -> None:
        """Let its servers download for days."""
        running = self._find(name)
        for pod in running.pods:
            if pod.timeline:
                pod.timeline = replace(pod.timeline, downloaded=1e6)
        self._changed(running)

    def web_ui(self) -> WebUi | None:
        """The namespace's Open WebUI, ready WEB_UI_STARTS after its start; None if there is none."""
        if self._web_ui is None:
            return None
        started, names, owner = self._web_ui
        ready = (self._clock.now() - started).total_seconds() >= WEB_UI_STARTS
        reach = f"kubectl -n {self.namespace} port-forward service/llm-webui 8080:8080"
        return WebUi(ready, names, "", reach, owner)

    async def apply_web_ui(self, names: Sequence[str], owner: str) -> None:
        """Start it, or connect it to these models."""
        started = self._web_ui[0] if self._web_ui else self._clock.now()
        self._web_ui = (started, tuple(names), owner)

    async def remove_web_ui(self) -> None:
        """Stop it; there are no chats to keep."""
        self._web_ui = None

    def missing_rights(self) -> Sequence[str]:
        """None: everything may be read here."""
        return []

    def stalled(self) -> Sequence[str]:
        """None: everything is as it is now."""
        return []

    async def load_state(self) -> str:
        """The text that was saved last; empty if none was."""
        return self._state

    async def save_state(self, text: str) -> None:
        """Store a text for as long as this object lives."""
        self._state = text

    async def set_state_aside(self, text: str) -> None:
        """Do nothing: nobody could look at it."""

    def _find(self, name: str, version: str = "") -> SimulatedWorkload:
        """UserError if there is none; Changed if `version` is not empty and not its version any more."""
        running = self._running.get(object_name(name))
        if running is None:
            raise UserError(t("workload.gone", name=name))
        if version and version != str(running.version):
            raise Changed(t("error.changed", name=name))
        return running

    def _changed(self, running: SimulatedWorkload) -> None:
        running.version = next(self._versions)
        self._changes.tell(running.spec.name)
        self.step()
