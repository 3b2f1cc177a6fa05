"""Where models run: reading it, changing it, and asking a single workload."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Unpack

from bot.core.deployment.record import Record, RecordChanges
from bot.core.deployment.workload import Spec, Workload
from bot.core.ports.state_store import StateStore
from bot.core.ports.web_ui import WebUiHost


@dataclass(frozen=True, slots=True)
class GpuNode:
    """A node with GPUs."""

    name: str
    total: int
    """GPUs that pods can get, used or not."""
    used: dict[str, int]
    """How many GPUs are held by what: a workload's name, or `namespace/pod` of others."""
    schedulable: bool = True
    """New pods may come."""
    ready: bool = True
    """Its kubelet answers."""

    @property
    def free(self) -> int:
        """GPUs that a pod could get now."""
        return max(0, self.total - sum(self.used.values())) if self.schedulable else 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers, and how it is asked."""

    url: str
    """Without `/v1`."""
    model: str
    """What its server calls it."""
    api_key: str
    """The key that its server asks for."""


@dataclass(frozen=True, slots=True)
class Server:
    """One ready replica of a workload."""

    id: str
    """Another one with each pod and each restart of its container: its counters begin again then."""
    url: str
    """Its own address, without `/v1`; where pods cannot be reached, that of all replicas together."""
    pod: str = ""
    """The name of its pod; empty if there is none."""


class ClusterReader(Protocol):
    """What is on the cluster as last seen. It is in memory: reading asks nobody and cannot fail."""

    namespace: str
    """Where all of the bot's workloads are."""

    def workloads(self) -> Sequence[Workload]:
        """Every workload."""

    def find(self, name: str) -> Workload | None:
        """The workload whose objects have this name's object name: `Qwen2-5-7b` finds `qwen2.5-7b`."""

    def owned_by(self, owner: str) -> Sequence[Workload]:
        """The workloads of the person with this user id."""

    def written_by_newer(self) -> Sequence[str]:
        """Object names of the Deployments that a newer llm-bot wrote. They are no workloads here: this
        version can neither read nor change them, and leaves them alone."""

    def nodes(self) -> Sequence[GpuNode]:
        """Nodes with GPUs; empty when we may not read nodes."""

    def changes(self) -> AsyncIterator[str]:
        """Names of workloads as they change, from now on; for ever."""

    def servers(self, name: str) -> Sequence[Server]:
        """The workload's ready replicas, each with an address of its own."""

    def address(self, name: str) -> str:
        """The workload's address inside the cluster, without `/v1`."""

    def key_command(self, name: str) -> str:
        """A command line that shows its API key to whoever may read it."""

    def missing_rights(self) -> Sequence[str]:
        """Resources that we may not read, though the bot has less to show without."""

    def stalled(self) -> Sequence[str]:
        """Resources that are shown as they were a minute ago or longer: nothing brings them up to date."""


class ClusterWriter(Protocol):
    """Changes workloads.

    UserError when the cluster is away or refuses, and when the workload is gone or written by a newer bot."""

    async def create(self, spec: Spec, record: Record) -> None:
        """Start a workload, with 0 replicas if its record says that it waits; NameTaken when it is there."""

    async def complete(self, spec: Spec) -> None:
        """Make sure that everything beside the Deployment exists (after a crash in `create`)."""

    async def change(self, spec: Spec, record: Record, *, awake: bool) -> None:
        """Give a workload other arguments, replicas and record in one step; if not `awake`, 0 replicas."""

    async def scale(self, name: str, replicas: int, version: str = "") -> None:
        """Set replicas, 0 to sleep; Changed when a `version` is given and is no longer its version."""

    async def update_record(self, name: str, **changes: Unpack[RecordChanges]) -> None:
        """Set these fields of the workload's Record; the others stay. What is empty is removed."""

    async def remove(self, name: str) -> None:
        """Remove the workload; the model cache stays."""


class Workloads(ClusterReader, ClusterWriter, Protocol):
    """Reads and changes workloads."""


class WorkloadAccess(Protocol):
    """What a single workload says, and how it is reached. UserError when the cluster is away."""

    async def logs(self, name: str, lines: int) -> str:
        """The last lines of its newest pod, of the run before if that one crashed; or nothing."""

    async def endpoint(self, name: str) -> Endpoint:
        """Where it answers, with its key; UserError when it is gone."""


class Cluster(Workloads, WorkloadAccess, WebUiHost, StateStore, Protocol):
    """All of it, as it is wired: a service asks for the part that it needs."""
