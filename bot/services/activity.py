"""Who uses which model, and what the models' servers say they do."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from bot.core.ports import Clock, Cluster, Inference, Load
from bot.core.workload import Phase, Workload

REMEMBER_EVERY = timedelta(minutes=5)
"""A person's use is written to the cluster at most this often."""
SCRAPES_AT_ONCE = 20


class Activity:
    """Own requests in flight, people's last use, and the servers' last figures."""

    def __init__(self, cluster: Cluster, inference: Inference, clock: Clock) -> None:
        self._cluster = cluster
        self._inference = inference
        self._clock = clock
        self._loads: dict[str, Load] = {}
        self._moved: dict[str, datetime] = {}
        self.in_flight: Counter[str] = Counter()

    @contextmanager
    def answering(self, name: str) -> Iterator[None]:
        """Counts one question as in flight."""
        self.in_flight[name] += 1
        try:
            yield
        finally:
            self.in_flight[name] -= 1
            self._moved[name] = self._clock.now()

    async def used(self, workload: Workload, user: str) -> None:
        """Remember that a person uses it now."""
        now = self._clock.now()
        last = workload.record.used.get(user)
        if last is None or now - last >= REMEMBER_EVERY:
            await self._cluster.remember(workload.name, used=workload.record.with_use(user, now))

    async def look(self, workload: Workload) -> Load | None:
        """Ask one server what it does; None when it is not ready or does not say."""
        if workload.phase is not Phase.READY:
            return None
        load = await self._inference.load(await self._cluster.endpoint(workload.name))
        if load is not None:
            before = self._loads.get(workload.name)
            known = before.tokens if before else 0.0  # never seen, but it worked: perhaps just now
            if load.tokens != known or load.running:
                self._moved[workload.name] = self._clock.now()
            self._loads[workload.name] = load
        return load

    async def sweep(self) -> None:
        """Ask every ready server."""
        gate = asyncio.Semaphore(SCRAPES_AT_ONCE)

        async def look(workload: Workload) -> None:
            async with gate:
                await self.look(workload)

        workloads = self._cluster.workloads()
        await asyncio.gather(*(look(workload) for workload in workloads), return_exceptions=True)
        names = {workload.name for workload in workloads}
        for gone in (set(self._loads) | set(self._moved)) - names:
            self._loads.pop(gone, None)
            self._moved.pop(gone, None)

    def load(self, workload: Workload) -> Load | None:
        """What its server said last."""
        return self._loads.get(workload.name) if workload.phase is Phase.READY else None

    def idle_since(self, workload: Workload) -> datetime:
        """When it last did something, as far as we know; ready counts as something."""
        moved = self._moved.get(workload.name, workload.since)
        return max(workload.last_used, moved)
