"""How far the models that load now are, read from the end of their logs."""

import asyncio
from collections.abc import AsyncIterator

from bot.core.changes import Changes
from bot.core.chat.errors import UserError
from bot.core.deployment.workload import Phase, Workload
from bot.core.ports import Clock, Cluster, Engine, Progress

LOOK_EVERY = 3.0
"""Seconds between two looks into the log of a starting model."""
TAIL = 60
"""Lines of a log in which progress shows."""


class StartupProgress:
    """Knows what the logs showed at the last look; `run` it to look."""

    def __init__(self, cluster: Cluster, engine: Engine, clock: Clock) -> None:
        self._cluster, self._engine, self._clock = cluster, engine, clock
        self._found: dict[str, Progress] = {}
        self._changes = Changes()

    def of(self, workload: Workload) -> Progress | None:
        """How far a starting workload is, if its log says."""
        starting = workload.phase in (Phase.LOADING, Phase.DOWNLOADING)
        return self._found.get(workload.name) if starting else None

    def changes(self) -> AsyncIterator[str]:
        """Names of workloads that got further, from now on; for ever."""
        return self._changes.listen()

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            loading = [w for w in self._cluster.workloads() if w.phase is Phase.LOADING]
            self._found = {w.name: self._found[w.name] for w in loading if w.name in self._found}
            await asyncio.gather(*map(self._look, loading))
            await self._clock.sleep(LOOK_EVERY)

    async def _look(self, workload: Workload) -> None:
        name = workload.name
        try:
            log = await self._cluster.logs(name, TAIL)
        except UserError:
            return  # no log yet, or the API is away: the next look will tell
        found = self._engine.progress(log, workload.spec.weights_gib)
        if found and found != self._found.get(name):
            self._found[name] = found
            self._changes.tell(name)
