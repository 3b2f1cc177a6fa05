"""What others measure of the cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Figures:
    """What the monitoring of the cluster shows; what it does not show is missing."""

    busy: Mapping[str, float] = field(default_factory=dict)
    """How busy the GPUs of a pod (`namespace/pod`) were at most in the last ten minutes, from 0 to 1."""
    faults: Mapping[str, int] = field(default_factory=dict)
    """The XID of the last fault of a GPU, by node."""
    volumes: Mapping[str, float] = field(default_factory=dict)
    """How full a volume is, from 0 to 1, by its claim."""


class Monitoring(Protocol):
    """What others measure of the cluster. Never needed: it can only speak against an action."""

    async def figures(self) -> Figures:
        """As of now; what cannot be read is missing."""
