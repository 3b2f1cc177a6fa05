"""What sweeps could not do, and for how many in a row."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

OFTEN = 3
"""Sweeps in a row that fail before admins hear of it: fewer may be a hiccup of the network."""


class SweepFailures:
    """Counts sweeps in a row that failed, by the workload that they could not look after, or by `sweep` for
    one that did not get through at all."""

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()

    def failed(self, about: str) -> None:
        """One more sweep could not do this."""
        self._in_a_row[about] += 1

    def succeeded(self, about: str) -> None:
        """It was done."""
        del self._in_a_row[about]

    def forget_all_but(self, about: Iterable[str]) -> None:
        """Nobody need know any more of what is gone."""
        for gone in set(self._in_a_row) - set(about):
            del self._in_a_row[gone]

    @contextmanager
    def counting(self, about: str) -> Iterator[None]:
        """One that fails in this block has failed once more; one that ends it has not."""
        self.failed(about)
        yield
        self.succeeded(about)

    def lasting(self) -> Sequence[str]:
        """What has failed in at least `OFTEN` sweeps in a row."""
        return [about for about, times in self._in_a_row.items() if times >= OFTEN]
