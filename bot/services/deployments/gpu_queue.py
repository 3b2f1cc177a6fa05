"""The queue of deployments that wait for GPUs: which starts next, and when the others may."""

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from bot.core.chat.errors import UserError
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import t
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.idle.verdict import IdleState, IdleVerdict
from bot.core.ports import Clock, Messenger, Workloads
from bot.core.queue.order import QueueEntry, QueuePosition, Release, forecast, in_order, startable
from bot.core.supervision import Bulkhead, WorkKind
from bot.services.deployments.admission import Admission
from bot.services.idle.activity import Activity

log = structlog.get_logger()


class GpuQueue:
    """The queue is stored on the cluster: a deployment that waits has 0 replicas and `queued_since` in its
    record.

    `used` gives the GPU-seconds that a person, by user id, held lately."""

    def __init__(
        self,
        cluster: Workloads,
        messenger: Messenger,
        activity: Activity,
        clock: Clock,
        used: Callable[[str], float],
        admission: Admission,
        bulkhead: Bulkhead,
    ) -> None:
        self._cluster, self._messenger = cluster, messenger
        self._activity, self._clock = activity, clock
        self._used, self._admission, self._bulkhead = used, admission, bulkhead
        self._advancing = asyncio.Lock()

    def must_wait(self, spec: Spec, record: Record) -> bool:
        """Not enough GPUs are free, or others come first. False where the bot may not read nodes: then pods
        wait for the scheduler."""
        if not self._cluster.nodes():
            return False
        entry = self._entry(spec, record.changed(queued_since=self._clock.now()))
        others = [other for other in self._waiting() if other.name != spec.name]
        return spec.name not in startable(self._free(), in_order([*others, entry]))

    def position(self, workload: Workload) -> QueuePosition | None:
        """Where it stands in the queue; None if it is not in it."""
        if workload.record.queued_since is None:
            return None
        queue = in_order(self._waiting())
        names = [entry.name for entry in queue]
        at = forecast(self._free(), self._releases(), queue).get(workload.name)
        return (
            QueuePosition(names.index(workload.name) + 1, len(names), at) if workload.name in names else None
        )

    def model_to_reclaim(self) -> tuple[str, str]:
        """While somebody waits: the name of the model to put to sleep early, and of the person who waits. It
        is the one that has been idle longest, of those that have been idle for half of their window. Else two
        empty strings. It stays the same until it sleeps or is used."""
        queue = in_order(self._waiting())
        if not queue:
            return "", ""
        idle = [(verdict.since, w.name) for w in self._ready() if (verdict := self._half_idle(w))]
        first = self._cluster.find(queue[0].name)
        return (min(idle)[1], first.record.owner_name) if idle and first else ("", "")

    async def follow(self) -> None:
        """Start those that wait, now and whenever something changes on the cluster; it never ends."""
        with self._cluster.changes() as names:
            with self._bulkhead.isolated(WorkKind.QUEUE):
                await self.advance()
            async for _ in names:
                with self._bulkhead.isolated(WorkKind.QUEUE):
                    await self.advance()

    async def advance(self) -> None:
        """Start those that come first, may start, and whose GPUs are free."""
        async with self._advancing:
            held_back = {entry.name for entry in self._waiting() if await self._is_held_back(entry.name)}
            queue = in_order(entry for entry in self._waiting() if entry.name not in held_back)
            for name in startable(self._free(), queue) if queue else []:
                with self._bulkhead.isolated(WorkKind.QUEUE, name):
                    await self._start_if_possible(name)

    async def _start_if_possible(self, name: str) -> None:
        try:
            await self._start(name)
        except UserError as error:  # the next change tries again, if it has not started
            log.warning("queue.not_advanced", workload=name, why=error.text.key)

    async def _is_held_back(self, name: str) -> bool:
        """It may not start by itself; or it is gone, or nobody knows."""
        workload = self._cluster.find(name)
        try:
            return workload is None or await self._admission.hold_back(workload)
        except UserError as error:
            log.warning("queue.not_told", workload=name, why=error.text.key)
            return True

    async def _start(self, name: str) -> None:
        async with self._admission.lock:
            workload = self._cluster.find(name)
            if workload is None or workload.record.queued_since is None:
                return  # it has been removed, or put to sleep
            record = workload.record.restarted(self._clock.now(), workload.last_end)
            await self._admission.start(workload, workload.spec, record.changed(queued_since=None), None)
        if record.card_place is not None and self._messenger.reaches(record.card_place):
            reply = Reply(t("queue.turn", name=workload.name), Tone.LOADING)
            await self._messenger.post(record.card_place, reply, record.locale)

    def _waiting(self) -> list[QueueEntry]:
        return [self._entry(w.spec, w.record) for w in self._cluster.workloads() if w.record.queued_since]

    def _entry(self, spec: Spec, record: Record) -> QueueEntry:
        """Owners are compared by their GPU-seconds of a week; where these are equal or not known, by the GPUs
        that they hold now."""
        held = sum(workload.gpus_on_nodes for workload in self._cluster.owned_by(record.owner))
        return QueueEntry(
            spec.name,
            spec.tensor_parallel_size,
            record.queued_since or self._clock.now(),
            spec.replicas,
            record.role,
            self._used(record.owner) + held,
            record.urgent,
        )

    def _free(self) -> dict[str, int]:
        """The free GPUs of each node, without those that models about to be placed will take."""
        free = Counter({node.name: node.free for node in self._cluster.nodes()})
        for workload in self._cluster.workloads():
            coming = workload.phase in (Phase.SCHEDULING, Phase.QUEUED) and workload.replicas
            fitting = [n for n in free if free[n] >= workload.spec.tensor_parallel_size]
            if coming and not workload.nodes and fitting:
                free[min(fitting, key=lambda node: free[node])] -= workload.spec.tensor_parallel_size
        return dict(free)

    def _ready(self) -> list[Workload]:
        return [w for w in self._cluster.workloads() if w.phase is Phase.READY and not w.managed_by]

    def _releases(self) -> list[Release]:
        """The GPUs of models whose lease will end, or that will go to sleep if nobody uses them."""
        releases = []
        for workload in self._ready():
            ends, due = workload.record.lease_ends_at, self._activity.verdict(workload).due
            sleeps = [due] if self._activity.policy.act and not workload.record.office_hours else []
            times = [*([ends] if ends else []), *sleeps]
            tp = workload.spec.tensor_parallel_size
            releases += [Release(min(times), node, tp) for node in workload.nodes if times]
        return releases

    def _half_idle(self, workload: Workload) -> IdleVerdict | None:
        half = self._activity.policy.window_of(workload) / 2
        verdict = self._activity.verdict(workload, early=half)
        return verdict if verdict.state is IdleState.IDLE and not workload.record.office_hours else None
