"""What people used, as the ledger keeps it."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Use:
    """What the deployments of one person and one model held on a day."""

    owner: str
    """The person's user id."""
    model: str
    """The model's key in the catalog, or its repository."""
    seconds: float
    """GPU-seconds that they held."""
    idle: float = 0.0
    """GPU-seconds of these in which the model was ready and answered nothing."""
    name: str = ""
    """What the person was called then."""


class UsageKind(StrEnum):
    """What else is written down of a day; `about` and `amount` are those of a UsageEvent."""

    CAPACITY = "capacity"
    """The GPUs that the cluster had, whoever held them; `amount` in GPU-seconds, about nothing."""
    BACK = "back"
    """What models left to others that the bot had put to sleep; `amount` in GPU-seconds, about the model."""
    WAITED = "waited"
    """Somebody's turn came; `amount` are the seconds in the queue, about the model."""
    FAILED = "failed"
    """A start failed; about the cause, without an amount."""


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """It happened `times` times, and came to `amount` together."""

    kind: UsageKind
    about: str
    amount: float = 0.0
    times: int = 1
