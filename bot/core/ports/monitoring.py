"""What the cluster's own monitoring measures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Figures:
    """What the cluster's monitoring measures; what it does not know is missing."""

    busy: Mapping[str, float] = field(default_factory=dict)
    """How busy the GPUs of a pod were at most in the last ten minutes, from 0 to 1, by `namespace/pod`."""
    faults: Mapping[str, int] = field(default_factory=dict)
    """The last fault of a GPU, as NVIDIA's XID number, by name of the node."""
    volumes: Mapping[str, float] = field(default_factory=dict)
    """How full a volume is, from 0 to 1, by the name of its claim."""


class Monitoring(Protocol):
    """Reads the cluster's monitoring. The bot works without: figures only keep models awake and raise
    alerts."""

    async def figures(self) -> Figures:
        """The figures as of now; what cannot be read is missing."""
