"""A model on the cluster: what was asked for, who asked, and how it is."""

from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median

from pydantic import BaseModel, ConfigDict

from bot.core.chat.message import Place, User
from bot.core.chat.text import Text, t
from bot.core.fit.shape import Shape

USERS_KEPT, STARTS_KEPT = 20, 5


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


class Frozen(BaseModel):
    """A value."""

    model_config = ConfigDict(frozen=True)


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


class Sleep(Frozen):
    """Why it went to sleep: `reason` is person, idle, lease or failed, and `by` that person. `since` is the
    last sign of life, with `seen` of the `expected` samples of its window."""

    reason: str
    by: str = ""
    since: datetime
    seen: int = 0
    expected: int = 0


class LastUse(Frozen):
    """The last time that somebody, called `who`, asked it."""

    who: str
    at: datetime


class Record(Frozen):
    """What is remembered of a workload besides its spec; kept as annotations of the Deployment.

    `card` is the message that shows how it is, `started` when it was last asked to start, `ends`
    the end of its lease, `used` who asked it last when, by id, `announced` the news that the card told last.

    `kept` is until when a person wants it kept although idle, `window` its own idle window; `warned` when
    its owner was told that it would sleep or be removed, in the message `warning`; `slept` why it sleeps
    (the reason; `told` once that was said, `leaving` once its removal was announced), and `sleep` what was
    known then.
    Inside its office `hours` it stays warm, outside it sleeps. `starts` are the seconds that its last
    starts took. `queued` is since when it waits in line (replicas are 0 then), `role` its owner's, `high`
    that an admin called it urgent. `waiting` are the messages whose questions wait until it is ready."""

    owner: str
    owner_name: str
    locale: str = ""
    place: Place | None = None
    card: str = ""
    started: datetime
    ends: datetime | None = None
    used: dict[str, LastUse] = {}
    announced: str = ""
    kept: datetime | None = None
    window: timedelta | None = None
    warned: datetime | None = None
    warning: str = ""
    slept: str = ""
    sleep: Sleep | None = None
    hours: str = ""
    starts: tuple[float, ...] = ()
    queued: datetime | None = None
    role: int = 1
    high: bool = False
    waiting: dict[str, Place] = {}

    @property
    def usual_start(self) -> timedelta | None:
        """The median of its last starts."""
        return timedelta(seconds=median(self.starts)) if self.starts else None

    def with_start(self, took: timedelta) -> tuple[float, ...]:
        """`starts`, with this one."""
        return (*self.starts, round(took.total_seconds(), 1))[-STARTS_KEPT:]

    def with_use(self, user: User, now: datetime) -> dict[str, LastUse]:
        """`used`, with this use in it; the most recent people only."""
        used = self.used | {user.id: LastUse(who=user.name, at=now)}
        return dict(sorted(used.items(), key=lambda item: item[1].at)[-USERS_KEPT:])


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
        return self.spec.gpus if self.record.queued else self.gpus_on_nodes

    @property
    def gpus_on_nodes(self) -> int:
        """GPUs that its pods ask for."""
        return self.spec.tensor_parallel_size * self.replicas

    def used_by_others(self, user: str, now: datetime, within: timedelta) -> list[str]:
        """Names of the other people who used it lately."""
        recent = now - within
        return [use.who for name, use in self.record.used.items() if name != user and use.at >= recent]

    @property
    def news(self) -> str:
        """What there is to tell, as one word that changes with it."""
        ends = self.record.ends.isoformat() if self.record.ends else ""
        return f"{self.phase.value}:{self.record.started.isoformat()}:{ends}"

    @property
    def start_news(self) -> str:
        """How the news begins that this start has led to an answer."""
        return f"{Phase.READY.value}:{self.record.started.isoformat()}"

    @property
    def last_used(self) -> datetime:
        """The last question, or else since when it is ready."""
        return max([self.since, *(use.at for use in self.record.used.values())])
