"""Why models failed, from their logs: these say more than the cluster does."""

from datetime import datetime, timedelta

from cachetools import LRUCache

from bot.core.chat.errors import UserError
from bot.core.deployment.workload import Phase, Workload
from bot.core.failures.diagnosis import Diagnosis, diagnose
from bot.core.ports import WorkloadAccess

LINES = 3000
"""Lines at the end of a log in which a cause is searched."""
MODELS_KEPT = 1000
"""Models whose last diagnosis is remembered."""
TIME_TO_READ = timedelta(seconds=30)
"""From a crash until its log has been read, or will not say more."""
CRASHED = ("crashed", "container_oomkilled")


class FailureDiagnoses:
    """Reads the log of each crashed start once, and remembers the diagnosis."""

    def __init__(self, cluster: WorkloadAccess) -> None:
        self._cluster = cluster
        self._diagnoses: LRUCache[str, tuple[datetime, Diagnosis]] = LRUCache(MODELS_KEPT)

    def diagnosis(self, workload: Workload) -> Diagnosis | None:
        """Why it failed; None if it has not failed or the log of this start does not say."""
        started, diagnosis = self._diagnoses.get(workload.name, (None, None))
        failed = workload.phase is Phase.FAILED and started == workload.record.start_requested_at
        return diagnosis if failed else None

    def cause(self, workload: Workload) -> str:
        """The cause of a failed workload: the name of a sentence `[cause]`."""
        diagnosis = self.diagnosis(workload)
        return diagnosis.cause if diagnosis else workload.cause or "unknown"

    def is_settled(self, workload: Workload, now: datetime) -> bool:
        """The cause of a failed workload will not become a better one: its log was read, or says nothing."""
        needs_log = workload.cause in CRASHED and self.diagnosis(workload) is None
        return not needs_log or now - workload.since >= TIME_TO_READ

    async def read_log(self, workload: Workload) -> None:
        """Read the workload's log if it has crashed and the log of this start has not been read yet."""
        if workload.cause not in CRASHED or self.diagnosis(workload):
            return
        try:
            diagnosis = diagnose([await self._cluster.logs(workload.name, LINES)])
        except UserError:
            return  # then only the cluster says why it failed
        if diagnosis.cause not in ("healthy", "unknown"):
            self._diagnoses[workload.name] = workload.record.start_requested_at, diagnosis
