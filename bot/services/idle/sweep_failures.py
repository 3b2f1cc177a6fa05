"""Counts what sweeps could not do."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

OFTEN = 3
"""Failures in a row before admins are alerted: fewer may be a short fault of the network."""


class SweepFailures:
    """Counts failures in a row, by the name of the workload that a sweep could not handle, or by `sweep` for
    sweeps that did not run to their end."""

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()

    def failed(self, about: str) -> None:
        """Count one more failure about this."""
        self._in_a_row[about] += 1

    def succeeded(self, about: str) -> None:
        """Start to count anew."""
        del self._in_a_row[about]

    def forget_all_but(self, about: Iterable[str]) -> None:
        """Forget the failures about anything else, because it is gone."""
        for gone in set(self._in_a_row) - set(about):
            del self._in_a_row[gone]

    @contextmanager
    def counting(self, about: str) -> Iterator[None]:
        """Count a failure if the block raises; else start to count anew."""
        self.failed(about)
        yield
        self.succeeded(about)

    def lasting(self) -> Sequence[str]:
        """What has failed at least `OFTEN` times in a row."""
        return [about for about, times in self._in_a_row.items() if times >= OFTEN]
