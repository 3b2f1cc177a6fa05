"""Why models failed: the log of a crash is read once, and says more than the cluster does."""

from datetime import datetime

from cachetools import LRUCache

from bot.core.chat.errors import UserError
from bot.core.deployment.workload import Phase, Workload
from bot.core.failures.diagnosis import Diagnosis, diagnose
from bot.core.ports import WorkloadAccess

LINES = 3000
"""Of a log, in which a cause shows."""
MODELS_KEPT = 1000
CRASHED = ("crashed", "container_oomkilled")


class FailureDiagnoses:
    """Remembers what the log of each start said."""

    def __init__(self, cluster: WorkloadAccess) -> None:
        self._cluster = cluster
        self._found: LRUCache[str, tuple[datetime, Diagnosis]] = LRUCache(MODELS_KEPT)

    def diagnosis(self, workload: Workload) -> Diagnosis | None:
        """Why it failed, if its log of this start says."""
        started, found = self._found.get(workload.name, (None, None))
        failed = workload.phase is Phase.FAILED and started == workload.record.start_requested_at
        return found if failed else None

    def cause(self, workload: Workload) -> str:
        """The name of the `[cause]` sentence of a failed workload."""
        found = self.diagnosis(workload)
        return found.cause if found else workload.cause or "unknown"

    async def read_log(self, workload: Workload) -> None:
        """Read the log of a start that crashed, once."""
        if workload.cause not in CRASHED or self.diagnosis(workload):
            return
        try:
            found = diagnose([await self._cluster.logs(workload.name, LINES)])
        except UserError:
            return  # the cluster's own word must do
        if found.cause not in ("healthy", "unknown"):
            self._found[workload.name] = workload.record.start_requested_at, found
