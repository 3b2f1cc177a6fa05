"""Records at each sweep who holds how many GPUs; the order of the queue depends on it."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from bot.core.deployment.workload import Phase, Workload
from bot.core.ports import Clock, ClusterReader, Ledger
from bot.core.usage.records import GpuUse, UsageEvent, UsageKind
from bot.services.idle.activity import Activity
from bot.services.startup.start_recorder import is_settled

WEEK = timedelta(days=7)
LONGEST = 5
"""Sweep intervals that one recording covers at most: after a longer pause nobody knows who held what."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is to be recorded of one sweep."""

    at: datetime
    waiting: Mapping[str, datetime]
    """Since when each workload, by name, has been in the queue."""
    failed: Set[tuple[str, datetime]]
    """Starts that have failed, now or earlier: name of the workload and time."""
    uses: Sequence[GpuUse] = ()
    """GPU time since the sweep before."""
    events: Sequence[UsageEvent] = ()
    """Events since the sweep before."""


class UsageRecorder:
    """Writes GPU time and events to the ledger. The bot works without it: then the queue is only less
    fair."""

    def __init__(
        self,
        cluster: ClusterReader,
        activity: Activity,
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        self._cluster, self._activity = cluster, activity
        self._ledger, self._clock = ledger, clock
        self._used: Mapping[str, float] = {}
        self._last: datetime | None = None
        self._waiting: Mapping[str, datetime] = {}
        self._failed: Set[tuple[str, datetime]] = set()
        """Starts whose failure is recorded: a model that crashes in a loop has failed once."""

    def used_last_week(self, owner: str) -> float:
        """The GPU-seconds that a person, by user id, held in the last seven days, as far as the ledger
        knows."""
        return self._used.get(owner, 0.0)

    def measure(self) -> Measured:
        """What was held since the last call of `write`."""
        now, last = self._clock.now(), self._last
        workloads = self._cluster.workloads()
        waiting = {w.name: w.record.queued_since for w in workloads if w.record.queued_since}
        failing = {_start(workload) for workload in workloads if self._has_failed(workload, now)}
        failed = (self._failed | failing) & {_start(workload) for workload in workloads}
        if last is None:
            return Measured(now, waiting, failed)
        passed = min(_seconds(now - last), LONGEST * self._activity.policy.interval.total_seconds())
        events = [*self._events(now), *self._gpus(passed)]
        return Measured(now, waiting, failed, self._uses(passed), events)

    async def write(self, measured: Measured) -> None:
        """Record what was measured, and read the sums of the last week."""
        self._last = measured.at  # first: what a slow database may have recorded is not recorded twice
        self._waiting, self._failed = measured.waiting, measured.failed
        if measured.uses or measured.events:
            await self._ledger.add(self._day(measured.at), measured.uses, measured.events)
        self._used = await self._ledger.used(self._day(measured.at - WEEK))

    async def look(self) -> None:
        """Only read the sums of the last week, while another process records."""
        self._last = None
        measured = self.measure()
        self._waiting, self._failed = measured.waiting, measured.failed
        self._used = await self._ledger.used(self._day(measured.at - WEEK))

    def _day(self, time: datetime) -> date:
        """The date of a moment, in the zone of the settings."""
        return time.astimezone(self._activity.policy.zone).date()

    def _uses(self, passed: float) -> list[GpuUse]:
        uses: dict[tuple[str, str], GpuUse] = {}
        for workload in self._cluster.workloads():
            if workload.nodes and passed > 0:
                owner, model = workload.record.owner, workload.spec.model
                seconds = workload.gpus_on_nodes * passed
                idle = seconds if self._is_unused(workload) else 0.0
                before = uses.get((owner, model), GpuUse(owner, model, 0.0))
                name = workload.record.owner_name
                uses[owner, model] = GpuUse(
                    owner, model, before.gpu_seconds + seconds, before.idle_gpu_seconds + idle, name
                )
        return list(uses.values())

    def _gpus(self, passed: float) -> Iterator[UsageEvent]:
        """The GPU time that the cluster had, and that sleeping models left to others."""
        if gpus := sum(node.total for node in self._cluster.nodes()):
            yield UsageEvent(UsageKind.CAPACITY, "", gpus * passed)
        for workload in self._cluster.workloads():
            state = workload.record.sleep_state
            if workload.phase is Phase.ASLEEP and state and state.reason.automatic:
                yield UsageEvent(UsageKind.GIVEN_BACK, workload.spec.model, workload.spec.gpus * passed)

    def _events(self, now: datetime) -> Iterator[UsageEvent]:
        """Deployments that left the queue, and starts that failed, since the last sweep."""
        for workload in self._cluster.workloads():
            since = self._waiting.get(workload.name)
            if since and not workload.record.queued_since:
                yield UsageEvent(UsageKind.WAITED, workload.spec.model, _seconds(now - since))
            if self._has_failed(workload, now) and _start(workload) not in self._failed:
                yield UsageEvent(UsageKind.FAILED, workload.cause or "unknown")

    def _has_failed(self, workload: Workload, now: datetime) -> bool:
        """It has, and it is known why, as far as that can be known."""
        return workload.phase is Phase.FAILED and is_settled(workload, now)

    def _is_unused(self, workload: Workload) -> bool:
        """It is ready and answers nothing."""
        load = self._activity.load(workload)
        return load is not None and not load.running and not self._activity.in_flight(workload.name)


def _seconds(passed: timedelta) -> float:
    """At least 0, also where the clock was set back in between."""
    return max(0.0, passed.total_seconds())


def _start(workload: Workload) -> tuple[str, datetime]:
    """Identifies a start of a workload."""
    return workload.name, workload.record.start_requested_at
