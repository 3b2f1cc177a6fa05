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
    def label(self) -> Text:
        """The phase in a sentence."""
        return t(f"phase.{self.value}")

    @property
    def settled(self) -> bool:
        """Nothing more happens by itself, or only when somebody else gives GPUs back."""
        return self in (Phase.READY, Phase.ASLEEP, Phase.FAILED, Phase.QUEUED)


class Spec(Frozen):
    """What runs: all that its manifests are made from."""

    name: str
    """What people call the deployment, and its server the model."""
    model: str
    """The model's key in the catalog; of one that is not in it, its repository."""
    repo: str
    """The repository of its weights on the Hugging Face Hub."""
    quantization: str = "none"
    """The format of its weights, a `Quantization`."""
    tensor_parallel_size: int = 1
    """GPUs of one replica."""
    max_model_len: int
    """The context: tokens that a question and its answer may have together."""
    shape: Shape | None = None
    """The model's shape; None: it is the catalog's."""
    gpu_memory_utilization: float = 0.9
    """The share of a GPU's memory that the engine may use, above 0 up to 1."""
    enforce_eager: bool = False
    """Without CUDA graphs: slower, and it takes less memory."""
    kv_cache_tokens: int = 0
    """Tokens that the KV cache of one replica holds, as computed before the start."""
    weights_gib: float = 0.0
    """The weights of the whole model, in GiB."""
    replicas: int = 1
    """Copies that run while it is awake."""

    @property
    def gpus(self) -> int:
        """GPUs of all replicas together."""
        return self.tensor_parallel_size * self.replicas


class Workload(Frozen):
    """A deployed model as last seen."""

    spec: Spec
    record: Record
    phase: Phase
    since: datetime
    """When the phase began."""
    created: datetime
    """When it was deployed."""
    version: str = ""
    """The resourceVersion of its Deployment that this view was read at."""
    replicas: int = 1
    """Replicas that are wanted now; 0: it sleeps or is queued."""
    ready_replicas: int = 0
    """Replicas that answer."""
    nodes: tuple[str, ...] = ()
    """Names of the nodes that its pods are on, sorted."""
    cause: str = ""
    """Why it failed, the name of a `[cause]` sentence; of one that does not start, what it waits for."""
    evidence: str = ""
    """The line of a log, status or event that shows the cause; without secrets."""
    managed_by: str = ""
    """Somebody else who decides how many replicas it has; empty: the bot does."""
    ending_since: datetime | None = None
    """Since when a pod of it should be gone; None: none is ending."""

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
