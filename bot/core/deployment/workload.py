"""A model on the cluster: what was asked for, who asked, and how it is."""

from datetime import datetime, timedelta
from enum import StrEnum

from bot.core.chat.text import Text, t
from bot.core.deployment.record import Record
from bot.core.fit.shape import Shape
from bot.core.frozen import Frozen


class Phase(StrEnum):
    """Where a workload stands. Idle logic exists only in `ready`."""

    QUEUED = "queued"
    SCHEDULING = "scheduling"
    PULLING = "pulling"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    ASLEEP = "asleep"
    FAILED = "failed"

    @property
    def said(self) -> Text:
        """The phase in a sentence."""
        return t(f"phase.{self.value}")

    @property
    def settled(self) -> bool:
        """Nothing more happens by itself, or only when somebody else gives GPUs back."""
        return self in (Phase.READY, Phase.ASLEEP, Phase.FAILED, Phase.QUEUED)


class Spec(Frozen):
    """What runs. `max_model_len` and `kv_cache_tokens` in tokens, `weights_gib` of the whole model."""

    name: str
    model: str
    repo: str
    quantization: str = "none"
    tensor_parallel_size: int = 1
    max_model_len: int
    shape: Shape | None = None
    gpu_memory_utilization: float = 0.9
    enforce_eager: bool = False
    kv_cache_tokens: int = 0
    weights_gib: float = 0.0
    replicas: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of all replicas together."""
        return self.tensor_parallel_size * self.replicas


class Workload(Frozen):
    """A deployed model as last seen.

    `since` is when the phase began, `version` the resourceVersion that this view was read at,
    `replicas` what is wanted now (0: asleep), `cause` the name of a `[cause]` sentence; of one that
    cannot be scheduled, what it misses: `volume` or `node`. A pod of it should be gone since
    `ending_since`. `managed_by` is somebody else who decides how
    many replicas it has."""

    spec: Spec
    record: Record
    phase: Phase
    since: datetime
    created: datetime
    version: str = ""
    replicas: int = 1
    ready_replicas: int = 0
    nodes: tuple[str, ...] = ()
    cause: str = ""
    evidence: str = ""
    managed_by: str = ""
    ending_since: datetime | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.spec.name

    @property
    def identity(self) -> str:
        """This one, not another that had or gets its name."""
        return f"{self.name}@{self.created.isoformat()}"

    @property
    def gpus_held(self) -> int:
        """GPUs that it holds or waits for now; none while it sleeps."""
        return self.spec.gpus if self.record.queued_since else self.gpus_on_nodes

    @property
    def gpus_on_nodes(self) -> int:
        """GPUs that its pods ask for."""
        return self.spec.tensor_parallel_size * self.replicas

    def used_by_others(self, user: str, now: datetime, within: timedelta) -> list[str]:
        """Names of the other people who used it lately."""
        recent = now - within
        return [use.who for name, use in self.record.last_uses.items() if name != user and use.at >= recent]

    @property
    def news(self) -> str:
        """What there is to tell, as one word that changes with it."""
        ends = self.record.lease_ends_at.isoformat() if self.record.lease_ends_at else ""
        return f"{self.phase.value}:{self.record.start_requested_at.isoformat()}:{ends}"

    @property
    def start_news(self) -> str:
        """How the news begins that this start has led to an answer."""
        return f"{Phase.READY.value}:{self.record.start_requested_at.isoformat()}"

    @property
    def last_used(self) -> datetime:
        """The last question, or else since when it is ready."""
        return max([self.since, *(use.at for use in self.record.last_uses.values())])
