"""Waits that often mend themselves: how long each lasts, and another look when that is too long."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from bot.cluster.waits import MENDING, PATIENCE


class ShortWaits:
    """By the name of a Deployment; `look` is called with it when its wait has lasted."""

    def __init__(self, look: Callable[[str], None]) -> None:
        self._look, self._loop = look, asyncio.get_running_loop()
        self._waits: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        """Since when (in the loop's time), and what looks again."""

    def lasted(self, name: str) -> timedelta:
        """How long it has waited; 0 if it does not."""
        since, _ = self._waits.get(name, (self._loop.time(), None))
        return timedelta(seconds=self._loop.time() - since)

    def note(self, name: str, cause: str) -> None:
        """What it waits for now, or why it has failed."""
        if cause not in MENDING:
            self.forget(name)
        elif name not in self._waits:
            timer = self._loop.call_later(PATIENCE.total_seconds(), self._look, name)
            self._waits[name] = self._loop.time(), timer

    def forget(self, name: str) -> None:
        """It does not wait, or is gone."""
        if name in self._waits:
            self._waits.pop(name)[1].cancel()

    def stop(self) -> None:
        """Forget all."""
        for name in list(self._waits):
            self.forget(name)
