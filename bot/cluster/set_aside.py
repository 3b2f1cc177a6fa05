"""Deployments that carry our label and that this version cannot read: they are no workloads."""

from collections.abc import Mapping

from pydantic import ValidationError

from bot.cluster.annotations import NewerFormat
from bot.core.counters import FAILURES
from bot.core.failures.redact import evidence

LONGEST_WHY = 200
"""Characters that tell why something cannot be read."""


class SetAside:
    """By the name of the Deployment: why it cannot be read."""

    def __init__(self) -> None:
        self._newer: set[str] = set()
        self._unreadable: dict[str, str] = {}

    def note(self, name: str, error: Exception) -> bool:
        """Reading it has raised this; False if that is known."""
        known = name in self._newer or name in self._unreadable
        self.forget(name)
        if isinstance(error, NewerFormat):
            self._newer.add(name)
        else:
            self._unreadable[name] = why(error)
            FAILURES.labels("read").inc(0 if known else 1)
        return not known

    def forget(self, name: str) -> None:
        """It can be read, or is gone."""
        self._newer.discard(name)
        self._unreadable.pop(name, None)

    def newer(self) -> list[str]:
        """Those that a newer version wrote."""
        return sorted(self._newer)

    def unreadable(self) -> Mapping[str, str]:
        """Why all others cannot be read."""
        return self._unreadable


def why(error: Exception) -> str:
    """What is wrong with what was read, in a few words: without the whole of it, and without secrets."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    else:
        said = f"{type(error).__name__}: {error}"
    return evidence(" ".join(said.split()), LONGEST_WHY)
