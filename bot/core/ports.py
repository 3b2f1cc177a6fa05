"""What the services need from the outside world; adapters and the simulator implement it."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Unpack

from bot.core.chat.message import Place, Turn
from bot.core.chat.reply import Reply
from bot.core.deployment.record import Record, RecordChanges
from bot.core.deployment.workload import Spec, Workload


@dataclass(frozen=True, slots=True)
class GpuNode:
    """A node with GPUs. `used` counts GPUs by what holds them: a workload's name, or `namespace/pod`.
    Pods may come if it is `schedulable`; `ready` says that its kubelet answers."""

    name: str
    total: int
    used: dict[str, int]
    schedulable: bool = True
    ready: bool = True

    @property
    def free(self) -> int:
        """GPUs that a pod could get now."""
        return max(0, self.total - sum(self.used.values())) if self.schedulable else 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers: `url` without `/v1`, and the key that its server asks for."""

    url: str
    model: str
    api_key: str


@dataclass(frozen=True, slots=True)
class Server:
    """One ready replica: `id` changes with its pod and with each restart of its container."""

    id: str
    url: str
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to answer; None is the server's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer. The last one has no text and the number of tokens generated."""

    text: str = ""
    tokens: int | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What a model server says of itself: requests now, and tokens since its start."""

    running: int
    waiting: int
    tokens: float


@dataclass(frozen=True, slots=True)
class WebUi:
    """The namespace's Open WebUI: `url` is set when it is reachable from outside."""

    ready: bool
    connected: tuple[str, ...]
    url: str
    reach: str
    owner: str


class Cluster(Protocol):
    """Where models run. Reading is from a mirror in memory and asks nobody."""

    namespace: str

    def workloads(self) -> Sequence[Workload]:
        """Every workload as last seen."""

    def nodes(self) -> Sequence[GpuNode]:
        """Nodes with GPUs as last seen; empty when we may not read nodes."""

    def changes(self) -> AsyncIterator[str]:
        """Names of workloads as they change, from now on; for ever."""

    async def create(self, spec: Spec, record: Record) -> None:
        """Start a workload; NameTaken when somebody was faster."""

    async def complete(self, spec: Spec) -> None:
        """Make sure that everything beside the Deployment exists (after a crash in `create`)."""

    async def change(self, spec: Spec, record: Record, *, awake: bool) -> None:
        """Give a workload other arguments, replicas or record in one step, and wake it or not."""

    async def scale(self, name: str, replicas: int, version: str = "") -> None:
        """Set replicas, 0 to sleep; Changed when a `version` is given and is no longer its version."""

    async def update_record(self, name: str, **changes: Unpack[RecordChanges]) -> None:
        """Set these fields of the workload's Record; the others stay."""

    async def remove(self, name: str) -> None:
        """Remove the workload; the model cache stays."""

    async def logs(self, name: str, lines: int) -> str:
        """The last lines of its newest pod, of the run before if that one crashed; or nothing."""

    async def endpoint(self, name: str) -> Endpoint:
        """Where it answers, with its key."""

    def servers(self, name: str) -> Sequence[Server]:
        """Its ready replicas, each with an address of its own."""

    def address(self, name: str) -> str:
        """Its address inside the cluster, without `/v1`."""

    def key_command(self, name: str) -> str:
        """A command line that shows its API key to whoever may read it."""

    def web_ui(self) -> WebUi | None:
        """The namespace's Open WebUI as last seen, if there is one."""

    async def apply_web_ui(self, names: Sequence[str], owner: str) -> None:
        """Start Open WebUI, or connect it to these workloads."""

    async def remove_web_ui(self) -> None:
        """Stop Open WebUI; chats and accounts stay."""

    def missing_rights(self) -> Sequence[str]:
        """Resources that we may not read, though the bot has less to show without."""

    def stalled(self) -> Sequence[str]:
        """Resources that are shown as they were a minute ago or longer: nothing brings them up to date."""

    async def load_state(self) -> str:
        """The text that was kept last, or nothing."""

    async def save_state(self, text: str) -> None:
        """Keep a text that is about no workload alone."""


class Inference(Protocol):
    """The models' servers."""

    def answer(
        self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Stream an answer; closing it ends generation. UserError when it cannot go on."""

    async def count_tokens(self, endpoint: Endpoint, turns: Sequence[Turn]) -> int | None:
        """Tokens that the turns take, or None if the server cannot say."""

    async def load(self, url: str) -> Load | None:
        """What the server at this address does now, or None if it does not say."""


class Messenger(Protocol):
    """Where people are told things, and where they were told before."""

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        """Post in a language, and return the message's id."""

    async def edit(self, place: Place, message: str, reply: Reply, locale: str = "") -> None:
        """Put `reply` in the place of a message posted before."""

    async def history(self, place: Place) -> Sequence[Turn]:
        """The conversation with models in this place, oldest first."""

    async def find(self, place: Place, key: str) -> str:
        """The message that was posted with this `Reply.key`, if it is there; else nothing."""

    def away(self) -> Sequence[str]:
        """Platforms that people cannot reach us by now."""

    async def resume(self, place: Place, message: str) -> bool:
        """Run the line again that a message waits for, for whoever typed it; False if it waits no more."""


class Clock(Protocol):
    """The time; in a demo it runs faster."""

    def now(self) -> datetime:
        """The time, with its zone."""

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds of this clock."""
