"""Pauses between two tries of what has to succeed in the end."""

import random
from dataclasses import dataclass

JITTER = 0.2
"""Share of a pause by which it may be longer or shorter: many who wait do not come back all at once."""


@dataclass(slots=True)
class Backoff:
    """Each pause is twice the one before, up to a longest one, until `reset`."""

    first: float = 0.5
    """Seconds of the first pause."""
    longest: float = 30.0
    """Seconds that no pause exceeds, but for the jitter."""
    _next: float = 0.0
    """Seconds of the next pause; 0 stands for the first one."""

    def reset(self) -> None:
        """Begin with the first pause again: it went well."""
        self._next = 0.0

    def pause(self) -> float:
        """Seconds to wait now."""
        now = self._next or self.first
        self._next = min(now * 2, self.longest)
        return now * random.uniform(1 - JITTER, 1 + JITTER)
