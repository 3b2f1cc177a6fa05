"""How far starting models are, read from the end of their logs."""

import asyncio

from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.changes import Changes, Listening
from bot.core.chat.errors import UserError
from bot.core.deployment.workload import Phase, Workload
from bot.core.ports import Clock, Cluster, Engine, Progress

LOOK_EVERY = 3.0
"""Seconds between two looks into the log of a starting model."""
TAIL = 60
"""Lines at the end of a log in which progress is searched."""


class StartupProgress:
    """Reads the logs of starting models every few seconds, while `run` runs."""

    def __init__(self, cluster: Cluster, engine: Engine, clock: Clock, bulkhead: Bulkhead) -> None:
        self._cluster, self._engine, self._clock = cluster, engine, clock
        self._bulkhead = bulkhead
        self._found: dict[str, Progress] = {}
        self._changes = Changes()

    def of(self, workload: Workload) -> Progress | None:
        """How far a starting workload is; None if it does not start or its log does not say."""
        starting = workload.phase in (Phase.LOADING, Phase.DOWNLOADING)
        return self._found.get(workload.name) if starting else None

    def changes(self) -> Listening:
        """The names of workloads that get further."""
        return self._changes.listening()

    async def run(self) -> None:
        """Read the logs again and again; it never ends."""
        while True:
            loading = [w for w in self._cluster.workloads() if w.phase is Phase.LOADING]
            self._found = {w.name: self._found[w.name] for w in loading if w.name in self._found}
            await asyncio.gather(*map(self._look, loading))
            await self._clock.sleep(LOOK_EVERY)

    async def _look(self, workload: Workload) -> None:
        name = workload.name
        with self._bulkhead.isolated(WorkKind.PROGRESS, name):
            try:
                log = await self._cluster.logs(name, TAIL)
            except UserError:
                return  # there is no log yet, or the cluster is away: the next look tries again
            self._note(workload, log)

    def _note(self, workload: Workload, log: str) -> None:
        name = workload.name
        found = self._engine.progress(log, workload.spec.weights_gib)
        if found and found != self._found.get(name):
            self._found[name] = found
            self._changes.tell(name)
