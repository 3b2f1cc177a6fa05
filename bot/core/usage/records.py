"""What is measured: of the cluster by others, and what people used by us."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Protocol

from bot.core.chat.text import Text


@dataclass(frozen=True, slots=True)
class Figures:
    """What the monitoring of the cluster shows: how `busy` the GPUs of a pod (`namespace/pod`) were at most
    in the last ten minutes, from 0 to 1; XID `faults` by node; how full `volumes` are, from 0 to 1."""

    busy: Mapping[str, float] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[str, float] = field(default_factory=dict)


class Monitoring(Protocol):
    """What others measure of the cluster. Never needed: it can only speak against an action."""

    async def figures(self) -> Figures:
        """As of now; what cannot be read is missing."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a model held on a day: GPU-seconds, and how many of them nothing ran. `name` is what its owner
    was called then."""

    owner: str
    model: str
    seconds: float
    idle: float = 0.0
    name: str = ""


class UsageKind(StrEnum):
    """What else is written down of a day. GPU-seconds that the cluster had (`capacity`) and that sleeping
    models gave back (`back`, by model), seconds waited in line (`waited`, by model), failures by cause."""

    CAPACITY = "capacity"
    BACK = "back"
    WAITED = "waited"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """It happened `times` times, and came to `amount` together."""

    kind: UsageKind
    about: str
    amount: float = 0.0
    times: int = 1


class Ledger(Protocol):
    """Who used how much. Never needed to be right: without it, what is held now decides."""

    @property
    def problem(self) -> Text | None:
        """What people should know of why it is neither written nor read, as of the last call."""

    async def add(self, day: date, uses: Sequence[Use], events: Sequence[UsageEvent] = ()) -> None:
        """Write down more of it."""

    async def used(self, since: date) -> Mapping[str, float]:
        """GPU-seconds of each owner from that day on; nothing if it cannot be read."""

    async def uses(self, since: date) -> Sequence[tuple[date, Use]]:
        """All of it from that day on, by day; nothing if it cannot be read."""

    async def events(self, since: date) -> Sequence[tuple[date, UsageEvent]]:
        """The same of what else happened."""
