"""Records of the ledger: the GPU time of a day, and what else happened on it."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class GpuUse:
    """The GPU time of one person's deployments of one model on one day."""

    owner: str
    """The person's user id."""
    model: str
    """The model's key in the catalog, or its repository."""
    gpu_seconds: float
    """GPU-seconds that they held: two GPUs for a minute are 120."""
    idle_gpu_seconds: float = 0.0
    """The part of these in which the model was ready and answered nothing."""
    owner_name: str = ""
    """What the person was called then."""


class UsageKind(StrEnum):
    """What a UsageEvent counts. The values are stored."""

    CAPACITY = "capacity"
    """The GPUs that the cluster had, used or not: `amount` in GPU-seconds, `about` empty."""
    GIVEN_BACK = "back"
    """The GPU time that others could have because the bot had put a model to sleep: `amount` in GPU-seconds,
    `about` the model."""
    WAITED = "waited"
    """A deployment left the queue and started: `amount` in seconds that it waited, `about` the model."""
    FAILED = "failed"
    """A start failed: `about` its cause, `amount` 0."""


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """Something that is counted day by day."""

    kind: UsageKind
    """What is counted."""
    about: str
    """The model or cause that it is about, as the kind says; empty: neither."""
    amount: float = 0.0
    """The sum over all times, in the unit of the kind."""
    times: int = 1
    """How often it happened."""
