"""What was heard already: chat servers deliver again whenever they are not sure."""

from collections import OrderedDict
from collections.abc import Iterable
from time import monotonic

SECONDS = 600.0
"""The last of Slack's repetitions comes after five minutes."""
KEPT = 50_000


class Dedup:
    """Remembers keys for a while."""

    def __init__(self, forget_after: float = SECONDS) -> None:
        self._forget_after = forget_after
        self._at: OrderedDict[str, float] = OrderedDict()

    def first(self, keys: Iterable[str]) -> bool:
        """None of the keys was there before; now all of them are."""
        now = monotonic()
        while self._at and (len(self._at) > KEPT or now - next(iter(self._at.values())) > self._forget_after):
            self._at.popitem(last=False)
        keys = list(keys)
        new = not any(key in self._at for key in keys)
        self._at.update(dict.fromkeys([key for key in keys if key not in self._at], now))
        return new

    def forget(self, key: str) -> None:
        """It may come again."""
        self._at.pop(key, None)
