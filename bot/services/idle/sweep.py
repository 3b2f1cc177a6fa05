"""The sweep: gather what is known of every model, judge what is due, act on it, and tell its owner.

`next_step` judges and has no side effects; `actions` acts and tells."""

import asyncio
from datetime import timedelta

from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle.next_step import Evidence, Step, next_step
from bot.core.idle.verdict import IdlePolicy
from bot.core.ports import Clock, Workloads
from bot.services.deployments.admission import Admission
from bot.services.deployments.gpu_queue import GpuQueue
from bot.services.idle.activity import Activity
from bot.services.idle.sweep_actions import SweepActions

LONGEST_STEP_SECONDS = 60.0
"""What is due about one model may take so long, if a chat or a server hangs: the others wait for it."""


class Sweep:
    """Runs every SWEEP_INTERVAL. What it has to remember of a model is stored on the cluster, so that after a
    restart it repeats and forgets nothing."""

    def __init__(
        self,
        *,
        cluster: Workloads,
        activity: Activity,
        gpu_queue: GpuQueue,
        admission: Admission,
        actions: SweepActions,
        bulkhead: Bulkhead,
        policy: IdlePolicy,
        clock: Clock,
    ) -> None:
        self._cluster, self._activity, self._gpu_queue = cluster, activity, gpu_queue
        self._admission = admission
        self._actions, self._bulkhead = actions, bulkhead
        self._policy, self._clock = policy, clock

    async def run(self) -> None:
        """Complete what is half made, and do what is due about every model. A failure with one of them does
        not stop the others.

        Each model is read when its turn comes. Probes come last, all at the same time: they may take long."""
        reclaimed = for_whom = ""
        with self._bulkhead.isolated(WorkKind.RECLAIM):
            reclaimed, for_whom = self._gpu_queue.model_to_reclaim()
        suspects: list[str] = []
        for name in [workload.name for workload in self._cluster.workloads()]:
            wanted_by = for_whom if name == reclaimed else ""
            with self._bulkhead.isolated(WorkKind.CREATION, name):
                await self._cluster.complete(name)
            with self._bulkhead.isolated(WorkKind.SWEEP, name):
                async with asyncio.timeout(LONGEST_STEP_SECONDS):
                    if await self._look_after(name, wanted_by) is Step.PROBE:
                        suspects.append(name)
        await asyncio.gather(*map(self._probe, suspects))

    async def _look_after(self, name: str, wanted_by: str) -> Step:
        """Carry out the step that is due, unless it is a probe, and return it."""
        workload = self._cluster.find(name)
        if workload is None:
            return Step.NOTHING  # removed meanwhile
        evidence = self._gather(workload, wanted_by)
        step = next_step(workload, evidence, self._policy, self._clock.now())
        if step is not Step.PROBE:
            await self._actions.take(step, workload, evidence)
        return step

    async def _probe(self, name: str) -> None:
        with self._bulkhead.isolated(WorkKind.SWEEP, name):
            if workload := self._cluster.find(name):
                await self._actions.probe(workload)

    def _gather(self, workload: Workload, wanted_by: str) -> Evidence:
        """The evidence from the samples so far."""
        sooner = self._policy.window_of(workload) / 2 if wanted_by else timedelta(0)
        notice = self._policy.warned_before(workload)
        load = self._activity.load(workload)
        return Evidence(
            verdict=self._activity.verdict(workload),
            soon=self._activity.verdict(workload, early=max(notice, sooner)),
            busy=bool(self._activity.in_flight(workload.name) or (load and load.running)),
            sooner=sooner,
            wanted_by=wanted_by,
            held_back=self._held_back(workload),
        )

    def _held_back(self, workload: Workload) -> str:
        """Of one that its office wakes: why it may not start."""
        opens = workload.phase is Phase.ASLEEP and workload.record.office_hours
        why = self._admission.refusal(workload) if opens else None
        return why.text.key if why else ""
