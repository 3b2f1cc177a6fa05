"""Who uses how many GPUs for how long, written down at each sweep: a fair line goes by it."""

from collections import defaultdict
from datetime import datetime, timedelta

from bot.core.measures import Ledger, Use
from bot.core.ports import Clock, Cluster
from bot.core.workload import Workload
from bot.services.activity import Activity
from bot.services.line import Line

WEEK = timedelta(days=7)
LONGEST = 5
"""Sweeps that one may count for: after a long pause nobody knows who held what."""


class Accounts:
    """Nothing here is needed for correctness."""

    def __init__(
        self, cluster: Cluster, activity: Activity, line: Line, ledger: Ledger, clock: Clock
    ) -> None:
        self._cluster, self._activity, self._line = cluster, activity, line
        self._ledger, self._clock = ledger, clock
        self._last: datetime | None = None

    async def sweep(self) -> None:
        """Write down what was held since the last sweep, and read what the last week saw."""
        now, last = self._clock.now(), self._last
        self._last = now
        if last is None:
            self._line.used = await self._ledger.used((now - WEEK).date())
            return
        passed = min(now - last, LONGEST * self._activity.policy.interval).total_seconds()
        uses: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for workload in self._cluster.workloads():
            if workload.nodes and passed > 0:
                account = uses[workload.record.owner, workload.spec.model]
                seconds = workload.gpus_on_nodes * passed
                account[0] += seconds
                account[1] += seconds if self._rests(workload) else 0.0
        if uses:
            await self._ledger.add(now.date(), [Use(*who, *spent) for who, spent in uses.items()])
            self._line.used = await self._ledger.used((now - WEEK).date())

    def _rests(self, workload: Workload) -> bool:
        """It could answer, and is not asked."""
        load = self._activity.load(workload)
        return load is not None and not load.running and not self._activity.in_flight[workload.name]
