"""How much of something one person may have at work at the same time."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from time import monotonic

from cachetools import TTLCache

from bot.core.counters import REFUSED

TOLD_SECONDS = 60.0
"""A person who has too many at work is told so at most this often."""
PEOPLE_KEPT = 5000


class Entry(Enum):
    """What becomes of one more."""

    ADMITTED = "admitted"
    """It counts as at work."""
    REFUSED = "refused"
    """The person has too many at work, and has yet to be told."""
    REFUSED_AGAIN = "refused again"
    """As before, and the person was told: one sentence for a flood is enough."""


class PersonalLimit:
    """At most `most` at work for each person; `name` is the limit's name in the metrics."""

    def __init__(self, most: int, name: str, clock: Callable[[], float] = monotonic) -> None:
        self.most = most
        """How many."""
        self._name = name
        self._at_work: Counter[str] = Counter()
        """By person; only people who have any."""
        self._told: TTLCache[str, None] = TTLCache(PEOPLE_KEPT, TOLD_SECONDS, clock)
        """Those who have heard a moment ago that they have too many."""

    def is_reached(self, person: str) -> bool:
        """One more would be refused."""
        return self._at_work[person] >= self.most

    @contextmanager
    def entering(self, person: str) -> Iterator[Entry]:
        """Count one more as at work during the block, unless it is refused. A person who is refused again and
        again is told once a minute."""
        if self.is_reached(person):
            REFUSED.labels(self._name).inc()
            again = person in self._told
            if not again:
                self._told[person] = None
            yield Entry.REFUSED_AGAIN if again else Entry.REFUSED
            return
        self._at_work[person] += 1
        try:
            yield Entry.ADMITTED
        finally:
            self._at_work[person] -= 1
            if not self._at_work[person]:
                del self._at_work[person]
