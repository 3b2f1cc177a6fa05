"""Who uses how many GPUs for how long, written down at each sweep: a fair line goes by it."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta

from bot.core.deployment.workload import Phase, Workload
from bot.core.ports import Clock, ClusterReader, Ledger
from bot.core.usage.records import UsageEvent, UsageKind, Use
from bot.services.idle.activity import Activity
from bot.services.startup.failure_diagnoses import FailureDiagnoses

WEEK = timedelta(days=7)
LONGEST = 5
"""Sweeps that one may count for: after a long pause nobody knows who held what."""


class UsageRecorder:
    """Nothing here is needed for correctness."""

    def __init__(
        self,
        cluster: ClusterReader,
        activity: Activity,
        failure_diagnoses: FailureDiagnoses,
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        self._cluster, self._activity = cluster, activity
        self._failure_diagnoses = failure_diagnoses
        self._ledger, self._clock = ledger, clock
        self._used: Mapping[str, float] = {}
        self._last: datetime | None = None
        self._waiting: dict[str, datetime] = {}
        self._failed: set[tuple[str, datetime]] = set()
        """Starts whose failure is written down: a model that crashes in a loop has failed once."""

    def used_last_week(self, owner: str) -> float:
        """GPU-seconds that a person held in the last seven days, as far as the ledger knows."""
        return self._used.get(owner, 0.0)

    async def record(self) -> None:
        """Write down what was held since the last time, and read what the last week saw."""
        now, last = self._clock.now(), self._last
        if last is not None:
            passed = min(now - last, LONGEST * self._activity.policy.interval).total_seconds()
            events = [*self._events(now), *self._gpus(passed)]
            await self._ledger.add(self._day(now), self._uses(passed), events)
        await self.look()
        self._last = now

    async def look(self) -> None:
        """Only read, while another process writes down what is held now."""
        self._last = None
        workloads = self._cluster.workloads()
        failed = {_start(workload) for workload in workloads if workload.phase is Phase.FAILED}
        self._failed = (self._failed | failed) & {_start(workload) for workload in workloads}
        self._waiting = {w.name: w.record.queued_since for w in workloads if w.record.queued_since}
        self._used = await self._ledger.used(self._day(self._clock.now() - WEEK))

    def _day(self, time: datetime) -> date:
        """The day that it is then where the cluster is."""
        return time.astimezone(self._activity.policy.zone).date()

    def _uses(self, passed: float) -> list[Use]:
        uses: dict[tuple[str, str], Use] = {}
        for workload in self._cluster.workloads():
            if workload.nodes and passed > 0:
                owner, model = workload.record.owner, workload.spec.model
                seconds = workload.gpus_on_nodes * passed
                idle = seconds if self._rests(workload) else 0.0
                before = uses.get((owner, model), Use(owner, model, 0.0))
                name = workload.record.owner_name
                uses[owner, model] = Use(owner, model, before.seconds + seconds, before.idle + idle, name)
        return list(uses.values())

    def _gpus(self, passed: float) -> Iterator[UsageEvent]:
        """What the cluster had, and what sleeping models left to others."""
        if gpus := sum(node.total for node in self._cluster.nodes()):
            yield UsageEvent(UsageKind.CAPACITY, "", gpus * passed)
        for workload in self._cluster.workloads():
            state = workload.record.sleep_state
            if workload.phase is Phase.ASLEEP and state and state.reason.automatic:
                yield UsageEvent(UsageKind.BACK, workload.spec.model, workload.spec.gpus * passed)

    def _events(self, now: datetime) -> Iterator[UsageEvent]:
        """Whose turn came, and what failed, since the last sweep."""
        for workload in self._cluster.workloads():
            since = self._waiting.get(workload.name)
            if since and not workload.record.queued_since:
                yield UsageEvent(UsageKind.WAITED, workload.spec.model, (now - since).total_seconds())
            if workload.phase is Phase.FAILED and _start(workload) not in self._failed:
                yield UsageEvent(UsageKind.FAILED, self._failure_diagnoses.cause(workload))

    def _rests(self, workload: Workload) -> bool:
        """It could answer, and is not asked."""
        load = self._activity.load(workload)
        return load is not None and not load.running and not self._activity.in_flight(workload.name)


def _start(workload: Workload) -> tuple[str, datetime]:
    """The same until it is started anew."""
    return workload.name, workload.record.start_requested_at
