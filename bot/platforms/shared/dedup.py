"""Requests that were seen before: chat servers deliver again whenever they are not sure."""

from collections.abc import Callable, Iterable
from time import monotonic

from cachetools import TTLCache

SECONDS = 600.0
"""The last of Slack's repetitions comes after five minutes."""
KEPT = 50_000


class Dedup:
    """Remembers keys for a while, at most KEPT of them."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._seen: TTLCache[str, None] = TTLCache(KEPT, seconds, clock)

    def is_new(self, keys: Iterable[str]) -> bool:
        """None of the keys was seen before; from now on all of them were."""
        keys = list(keys)
        unseen = [key for key in keys if key not in self._seen]
        self._seen.update(dict.fromkeys(unseen))
        return len(unseen) == len(keys)

    def forget(self, key: str) -> None:
        """It may come again."""
        self._seen.pop(key, None)
