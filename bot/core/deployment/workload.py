"""A model on the cluster: what runs, whose it is, and what it is doing."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from bot.core.chat.text import Text, t
from bot.core.deployment.ending import Ending
from bot.core.deployment.record import Record
from bot.core.deployment.shortage import Shortage
from bot.core.deployment.start_times import Stages
from bot.core.fit.gpu import Quantization
from bot.core.fit.shape import Shape
from bot.core.frozen import MOST, Count, Frozen


class Phase(StrEnum):
    """What a workload is doing. Only one that is `ready` can be idle."""

    QUEUED = "queued"
    """It waits for GPUs."""
    SCHEDULING = "scheduling"
    """Its pods are being placed on nodes."""
    PREPARING = "preparing"
    """Its node makes the container: network, volumes, the next try after a crash."""
    PULLING = "pulling"
    """A node pulls the image of its server."""
    DOWNLOADING = "downloading"
    """Its server downloads the weights."""
    LOADING = "loading"
    """Its server loads the weights into GPUs."""
    READY = "ready"
    """It answers."""
    DRAINING = "draining"
    """Its pods are ending."""
    ASLEEP = "asleep"
    """It has 0 replicas; everything else is kept."""
    FAILED = "failed"
    """It cannot start, or has crashed; `Workload.cause` says why."""

    @property
    def label(self) -> Text:
        """The phase as people read it."""
        return t(f"phase.{self.value}")

    @property
    def settled(self) -> bool:
        """It stays like this until somebody does something, or gives GPUs back."""
        return self in (Phase.READY, Phase.ASLEEP, Phase.FAILED, Phase.QUEUED)


UNREADY = "unready"
"""Why a model that has answered before is loading: it does not answer now."""


def _known_format(name: str) -> str:
    return Quantization(name).value


Amount = Annotated[int, Field(ge=1, le=MOST)]
"""How many there are, at least one."""


class Spec(Frozen):
    """What runs: all that its manifests are made from. Somebody may have changed it by hand."""

    name: str
    """What people call the deployment, and its server the model."""
    model: str
    """The model's key in the catalog; of one that is not in it, its repository."""
    repo: str
    """The repository of its weights on the Hugging Face Hub."""
    quantization: Annotated[str, AfterValidator(_known_format)] = "none"
    """The format of its weights, a `Quantization`."""
    tensor_parallel_size: Amount = 1
    """GPUs of one replica."""
    max_model_len: Amount
    """The context: tokens that a question and its answer may have together."""
    shape: Shape | None = None
    """The model's shape; None: it is the catalog's."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """The share of a GPU's memory that the engine may use, above 0 up to 1."""
    enforce_eager: bool = False
    """Run without CUDA graphs: slower, but it takes less memory."""
    kv_cache_tokens: Count = 0
    """Tokens that the KV cache of one replica holds, as computed before the start."""
    weights_gib: Annotated[float, Field(ge=0, le=MOST)] = 0.0
    """The weights of the whole model, in GiB."""
    replicas: Amount = 1
    """Copies that run while it is awake."""

    @property
    def gpus(self) -> int:
        """GPUs of all replicas together."""
        return self.tensor_parallel_size * self.replicas


class Workload(Frozen):
    """A deployed model as last seen."""

    spec: Spec
    """What runs."""
    record: Record
    """What the bot remembers of it."""
    phase: Phase
    """What it is doing."""
    since: datetime
    """When the phase began."""
    created: datetime
    """When it was deployed."""
    version: str = ""
    """The resourceVersion of its Deployment that this view was read at."""
    replicas: int = 1
    """Replicas that it should have now; 0: it sleeps or is queued."""
    ready_replicas: int = 0
    """Replicas that answer."""
    placed_replicas: int = 0
    """Replicas whose pods have a node."""
    nodes: tuple[str, ...] = ()
    """Names of the nodes that its pods are on, sorted."""
    cause: str = ""
    """Why it failed, the name of a sentence `[cause]`; while it starts, what it waits for, the name
    of a sentence `[waits]`. Empty: neither."""
    last_end: Ending | None = None
    """How the last run of its engine ended in this start; None: none has."""
    stages: Stages | None = None
    """How long the start of the pod took that has answered longest; None: none does, or nobody knows."""
    shortage: Shortage | None = None
    """The numbers of a wait for CPU or memory; None: it waits for neither, or they are not known."""
    evidence: str = ""
    """The line of a log, status or event that shows the cause, without secrets; empty: there is none."""
    managed_by: str = ""
    """What else decides how many replicas it has, such as an autoscaler; empty: the bot does."""
    ending_since: datetime | None = None
    """Since when one of its pods should be gone; None: all that should be gone are."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.spec.name

    @property
    def identity(self) -> str:
        """Name and time of creation: no other deployment of the same name has had or will get this."""
        return f"{self.name}@{self.created.isoformat()}"

    @property
    def ends(self) -> int:
        """How many runs of its engine have ended since it was asked to start, or was last ready."""
        return self.last_end.number if self.last_end else 0

    @property
    def is_moving(self) -> bool:
        """It has been ready, nothing has ended there, and it starts: its pod was removed, by a drain or by
        hand."""
        starts = self.phase not in (Phase.READY, Phase.FAILED, Phase.DRAINING, Phase.ASLEEP)
        return starts and self.record.ready_at is not None and not self.ends and self.cause != UNREADY

    @property
    def tried_since(self) -> datetime:
        """Since when it tries to start: since it was asked to or, once it has been ready, since its phase
        began."""
        asked = self.record.start_requested_at
        return max(asked, self.since) if self.record.ready_at else asked

    @property
    def nodes_to_remember(self) -> tuple[str, ...]:
        """The nodes that it answers from; if it does not answer, those that it answered from before."""
        return self.nodes if self.ready_replicas else self.record.last_nodes

    @property
    def gpus_held(self) -> int:
        """GPUs that it holds or waits for now; 0 while it sleeps."""
        return self.spec.tensor_parallel_size * (
            self.spec.replicas if self.record.queued_since else self.replicas
        )

    @property
    def sleeps(self) -> bool:
        """Nobody wants it to run: it is asleep, or its pods are still ending."""
        return self.phase is Phase.ASLEEP or (self.phase is Phase.DRAINING and not self.gpus_held)

    @property
    def gpus_on_nodes(self) -> int:
        """GPUs that its pods hold: those that have a node."""
        return self.spec.tensor_parallel_size * self.placed_replicas

    @property
    def without_log(self) -> "Workload":
        """What everybody may see of it: nothing of its log."""
        end = self.last_end.model_copy(update={"evidence": ""}) if self.last_end else None
        return self.model_copy(update={"evidence": "", "last_end": end})

    def used_by_others(self, user: str, now: datetime, within: timedelta) -> list[str]:
        """Names of people other than the user id `user` who have used it `within` this time."""
        recent = now - within
        return [use.who for name, use in self.record.last_uses.items() if name != user and use.at >= recent]

    @property
    def news(self) -> str:
        """A word that changes when the owner should be told something: with the phase, the start and the
        lease."""
        ends = self.record.lease_ends_at.isoformat() if self.record.lease_ends_at else ""
        if self.phase is Phase.FAILED and self.record.ready_at:
            return f"{self.down_news}:{ends}"
        return f"{self.phase.value}:{self.record.start_requested_at.isoformat()}:{ends}"

    @property
    def down_news(self) -> str:
        """How `news` begins when it does not answer, and has been ready since this start."""
        return f"down:{self.record.start_requested_at.isoformat()}"

    @property
    def start_news(self) -> str:
        """How `news` begins once this start has made it ready."""
        return f"{Phase.READY.value}:{self.record.start_requested_at.isoformat()}"

    @property
    def last_used(self) -> datetime:
        """When it was last asked something, but not before its phase began."""
        return max([self.since, *(use.at for use in self.record.last_uses.values())])
