"""What is measured: of the cluster by others, and what people used by us."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol


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
    """What a model held on a day: GPU-seconds, and how many of them nothing ran."""

    owner: str
    model: str
    seconds: float
    idle: float = 0.0


class Ledger(Protocol):
    """Who used how much. Never needed to be right: without it, what is held now decides."""

    async def add(self, day: date, uses: Sequence[Use]) -> None:
        """Write down more of it."""

    async def used(self, since: date) -> Mapping[str, float]:
        """GPU-seconds of each owner from that day on; nothing if it cannot be read."""
