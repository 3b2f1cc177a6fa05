"""The cluster on which models run: reading it, changing it, and reaching a single workload."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Unpack

from bot.core.changes import Listening
from bot.core.deployment.record import Record, RecordChanges
from bot.core.deployment.shortage import Shortage
from bot.core.deployment.workload import Spec, Workload
from bot.core.ports.state_store import StateStore
from bot.core.ports.web_ui import WebUiHost


@dataclass(frozen=True, slots=True)
class GpuNode:
    """A node with GPUs."""

    name: str
    """The name of the node."""
    total: int
    """GPUs that pods can get, used or not."""
    used: dict[str, int]
    """GPUs in use, by what holds them: the name of a workload, or `namespace/pod` of a pod that is not the
    bot's."""
    schedulable: bool = True
    """It takes new pods."""
    ready: bool = True
    """Its kubelet answers."""
    installed: int = 0
    """GPUs that its device plugin knows, those that it calls unhealthy among them; 0: that is not known."""

    @property
    def free(self) -> int:
        """GPUs that a pod could get now."""
        return max(0, self.total - sum(self.used.values())) if self.schedulable else 0

    @property
    def within_reach(self) -> int:
        """GPUs that a pod could get if all of the bot's workloads gave theirs back."""
        foreign = sum(gpus for holder, gpus in self.used.items() if "/" in holder)
        return max(0, self.total - foreign) if self.schedulable else 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a model's server, and what a request needs."""

    url: str
    """The address, without `/v1`."""
    model: str
    """The name of the model that its server answers to."""
    api_key: str
    """The key that its server asks for."""


@dataclass(frozen=True, slots=True)
class Server:
    """One ready replica of a workload."""

    id: str
    """Identifies one run of its container: a new pod or a restart has another id, and its counters start at
    0."""
    url: str
    """Its own address, without `/v1`; where pods cannot be reached, that of the workload."""
    pod: str = ""
    """The name of its pod; empty: there is none."""


class ClusterReader(Protocol):
    """What is on the cluster, as last seen. It is in memory: reading it sends no request and cannot fail."""

    namespace: str
    """The namespace of all of the bot's workloads."""

    def workloads(self) -> Sequence[Workload]:
        """Every workload."""

    def find(self, name: str) -> Workload | None:
        """The workload of that name, or of one with the same object name (`Qwen2-5-7b` finds `qwen2.5-7b`);
        None if there is none."""

    def owned_by(self, owner: str) -> Sequence[Workload]:
        """The workloads of the person with this user id."""

    def written_by_newer(self) -> Sequence[str]:
        """The names of Deployments that a newer version of the bot wrote. This one can neither read nor
        change them: they are not among the workloads."""

    def unreadable(self) -> Mapping[str, str]:
        """Why things of the cluster cannot be read: Deployments of the bot by the names of their objects,
        which are not among the workloads and are left alone; all else by what and where it is, as it was
        before."""

    def nodes(self) -> Sequence[GpuNode]:
        """The nodes with GPUs; empty if the bot may not read nodes."""

    def lacks(self, spec: Spec) -> Shortage | None:
        """What a replica asks more of than any node with enough GPUs has, were it empty; None: nothing, or
        that is not known."""

    def changes(self) -> Listening:
        """The names of workloads as they change. What a workload waits for is part of it: one that waits for
        GPUs changes with the GPUs that are free, whoever frees them."""

    def servers(self, name: str) -> Sequence[Server]:
        """The ready replicas of the workload of that name."""

    def address(self, name: str) -> str:
        """The workload's address inside the cluster, without `/v1`."""

    def key_command(self, name: str) -> str:
        """A command line that shows the workload's API key to people who may read it."""

    def missing_rights(self) -> Sequence[str]:
        """Kinds of objects that the bot would like to read and may not."""

    def stalled(self) -> Sequence[str]:
        """Kinds of objects that are shown as they were a minute ago or longer, because nothing updates
        them."""


class ClusterWriter(Protocol):
    """Changes workloads.

    UserError when the cluster cannot be reached or refuses, and when the workload is gone or was written by a
    newer version of the bot. If the answer to a write is lost, the cluster is looked at: the call returns if
    the write was done, and raises UserError if it was not; OutcomeUnknown if nobody knows yet.

    A caller that decided on a view of a workload passes the `version` of that view. If the workload has
    changed since, nothing is written: the call raises Changed, and `find` then returns it as it is now."""

    async def catch_up(self, name: str) -> None:
        """Wait until all is seen that any process wrote about workloads before this one was last written."""

    async def create(self, spec: Spec, record: Record) -> None:
        """Start a workload, with 0 replicas if its record says that it is queued; NameTaken when there is one
        of that name. UserError, and nothing is made, if an object of its names is not the bot's."""

    async def complete(self, name: str) -> None:
        """Finish the creation of a workload that a crash, or a cluster that was away, has cut short. Nothing
        is sent if there is nothing to do. What can never be finished is removed, and UserError says why."""

    async def change(self, spec: Spec, record: Record, *, awake: bool, version: str = "") -> None:
        """Set spec and record of a workload in one step, with the replicas of the spec, or 0 if not
        `awake`."""

    async def scale(
        self, name: str, replicas: int, version: str = "", **changes: Unpack[RecordChanges]
    ) -> None:
        """Set the replicas and fields of the workload's record in one step; 0 replicas put it to sleep."""

    async def update_record(self, name: str, version: str = "", **changes: Unpack[RecordChanges]) -> None:
        """Set fields of the workload's record; the others stay as they are."""

    async def remove_dead_pods(self, name: str) -> None:
        """Remove the workload's pods that have ended and stay, but not the last one while there is no other:
        its log can be read. Nothing is sent if there are none."""

    async def remove(self, name: str, version: str = "") -> None:
        """Remove the workload; the downloaded weights stay."""


class Workloads(ClusterReader, ClusterWriter, Protocol):
    """Reads and changes workloads."""


class WorkloadAccess(Protocol):
    """The log and the address of a single workload. UserError when the cluster cannot be reached."""

    async def logs(self, name: str, lines: int) -> str:
        """The last lines of its newest pod's log, or of the run before if this one crashed; empty if there is
        none."""

    async def log_of_run(self, name: str, run: str, lines: int) -> str:
        """The last lines of a run, as an `Ending.run` names it; empty if its log is gone."""

    async def cache_on_one_node(self) -> bool:
        """Whether only one of several nodes with GPUs can mount the volume of all weights at a time; False
        also if that is not known."""

    async def endpoint(self, name: str) -> Endpoint:
        """Its address and key; UserError when it is gone."""


class Cluster(Workloads, WorkloadAccess, WebUiHost, StateStore, Protocol):
    """All of it. A service takes only the part that it needs."""
