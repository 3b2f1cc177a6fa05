"""The queue of deployments that wait for GPUs: which starts next, and when the others may."""

import asyncio
from collections.abc import Callable, Iterable, Set
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.chat.errors import UserError
from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import t
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.idle.verdict import IdleState, IdleVerdict
from bot.core.ports import Clock, Messenger, Workloads
from bot.core.queue.order import QueueEntry, QueuePosition, Release, about, forecast, in_order
from bot.core.queue.placement import NodeGpus, startable, within_reach
from bot.services.deployments.admission import Admission
from bot.services.idle.activity import Activity

HELD_COUNTS = timedelta(hours=6)
"""A GPU that an owner holds now counts as if they had used it for so long."""
HOPELESS_AFTER = timedelta(minutes=5)
"""An owner is told that no node could ever take a deployment once that has lasted so long: a node may be away
for a moment."""

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
        self._hopeless: dict[str, datetime] = {}
        """Since when no node could take those that wait, even if all models gave their GPUs back."""
        self._to_tell: asyncio.Queue[tuple[Record, Reply]] = asyncio.Queue()

    def must_wait(self, spec: Spec, record: Record) -> bool:
        """Not enough GPUs are free, or others come first."""
        entry = self._entry(spec, record.changed(queued_since=self._clock.now()))
        others = [other for other in self._waiting() if other.name != spec.name]
        return spec.name not in self._startable([*others, entry])

    def position(self, workload: Workload) -> QueuePosition | None:
        """Where it stands in the queue; None if it is not in it."""
        if workload.record.queued_since is None:
            return None
        queue, now = in_order(self._entry(w.spec, w.record) for w in self._queued()), self._clock.now()
        names = [entry.name for entry in queue]
        if workload.name not in names:
            return None
        free = {node.name: node.free for node in self._cluster.nodes()}
        starts = forecast(free, self._releases(), [*self._coming(), *queue], now)
        at = starts.get(workload.name, now)
        return QueuePosition(names.index(workload.name) + 1, len(names), about(at) if at > now else None)

    def model_to_reclaim(self) -> tuple[str, str]:
        """While somebody waits: the name of the model to put to sleep early, and of the person who waits. It
        is the one that has been idle longest, of those that have been idle for half of their window. Else two
        empty strings. It stays the same until it sleeps or is used."""
        nodes = self._nodes()
        queue = [entry for entry in in_order(self._waiting()) if within_reach(nodes, entry)]
        if not queue:
            return "", ""
        idle = [(verdict.since, w.name) for w in self._ready() if (verdict := self._half_idle(w))]
        first = self._cluster.find(queue[0].name)
        return (min(idle)[1], first.record.owner_name) if idle and first else ("", "")

    async def follow(self) -> None:
        """Start those that wait, now and whenever something changes on the cluster, and tell their owners; it
        never ends."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell())
            with self._cluster.changes() as names:
                with self._bulkhead.isolated(WorkKind.QUEUE):
                    await self.advance()
                async for _ in names:
                    with self._bulkhead.isolated(WorkKind.QUEUE):
                        await self.advance()

    async def advance(self) -> None:
        """Start those that come first, may start, and whose GPUs are free; each is tried once. Who can start
        is looked up again after each: meanwhile others may have started or gone."""
        async with self._advancing:
            for workload in self._queued():
                await self._hold_back(workload)
            passed = set[str]()
            while name := await self._start_next(passed):
                passed.add(name)
            await self._note_hopeless()

    async def _start_next(self, passed: Set[str]) -> str:
        """Start the first that can, of those that are not passed over, and return its name; empty: none can.
        Its owner is told later: a chat that is slow or away holds up nobody's turn."""
        async with self._admission.lock:
            waiting = [entry for entry in self._waiting() if entry.name not in passed]
            name = next(iter(self._startable(waiting)), "") if waiting else ""
            if (workload := self._cluster.find(name) if name else None) is None:
                return ""
            with self._bulkhead.isolated(WorkKind.QUEUE, name):  # the next change tries again
                await self._start(workload)
            return name

    async def _start(self, workload: Workload) -> None:
        record = workload.record.restarted(self._clock.now(), workload.last_end)
        try:
            await self._admission.start(workload, workload.spec, record.changed(queued_since=None), None)
        except UserError as error:
            log.warning("queue.not_advanced", workload=workload.name, why=error.text.key)
        else:
            self._to_tell.put_nowait((record, Reply(t("queue.turn", name=workload.name), Tone.LOADING)))

    async def _hold_back(self, workload: Workload) -> None:
        """If it may not start by itself, its owner is told why: later, as in `_start_next`."""
        with self._bulkhead.isolated(WorkKind.ADMISSION, workload.name):
            try:
                reply = await self._admission.hold_back(workload)
            except UserError as error:  # it has changed, or the cluster is away
                log.warning("queue.not_held_back", workload=workload.name, why=error.text.key)
            else:
                if reply:
                    self._to_tell.put_nowait((workload.record, reply))

    async def _tell(self) -> None:
        """Post what owners are to be told; it never ends."""
        while True:
            record, reply = await self._to_tell.get()
            if record.card_place is None or not self._messenger.reaches(record.card_place):
                continue
            with self._bulkhead.isolated(WorkKind.QUEUE):
                await self._messenger.post(record.card_place, reply, record.locale)

    async def _note_hopeless(self) -> None:
        """Tell owners, once, whose deployments no node could take even if all models gave their GPUs back."""
        nodes, now = self._nodes(), self._clock.now()
        found = [
            w for w in self._queued() if nodes and not within_reach(nodes, self._entry(w.spec, w.record))
        ]
        self._hopeless = {w.name: self._hopeless.get(w.name, now) for w in found}
        for workload in found:
            lasts = now - self._hopeless[workload.name] >= HOPELESS_AFTER
            if lasts and not workload.record.no_room_told:
                try:
                    await self._cluster.update_record(workload.name, workload.version, no_room_told=True)
                except UserError as error:
                    log.warning("queue.not_noted", workload=workload.name, why=error.text.key)
                else:
                    self._to_tell.put_nowait((workload.record, _no_room(workload)))

    def _queued(self) -> list[Workload]:
        return [w for w in self._cluster.workloads() if w.record.queued_since and not w.replicas]

    def _waiting(self) -> list[QueueEntry]:
        """Those that may start by themselves."""
        return [self._entry(w.spec, w.record) for w in self._queued() if self._may_start(w)]

    def _may_start(self, workload: Workload) -> bool:
        """False also if nobody can tell."""
        with self._bulkhead.isolated(WorkKind.ADMISSION, workload.name):
            return self._admission.refusal(workload) is None
        return False

    def _coming(self) -> list[QueueEntry]:
        """Those that have been started, with the replicas that have no node yet."""
        missing = [
            (w, w.replicas - w.placed_replicas)
            for w in self._cluster.workloads()
            if w.replicas > w.placed_replicas and w.phase is not Phase.FAILED
        ]
        return [replace(self._entry(w.spec, w.record), since=w.tried_since, replicas=n) for w, n in missing]

    def _startable(self, waiting: Iterable[QueueEntry]) -> list[str]:
        """All of them where the bot may not read nodes: then pods wait for the scheduler."""
        if not (nodes := self._nodes()):
            return [entry.name for entry in in_order(waiting)]
        return startable(nodes, self._coming(), in_order(waiting), self._clock.now())

    def _nodes(self) -> list[NodeGpus]:
        return [NodeGpus(node.free, node.within_reach) for node in self._cluster.nodes()]

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
            self._used(record.owner) + held * HELD_COUNTS.total_seconds(),
            record.urgent,
        )

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


def _no_room(workload: Workload) -> Reply:
    """That no node could take it, and what to do."""
    count, leave = workload.spec.tensor_parallel_size, "sleep" if workload.record.ran_before else "stop"
    return Reply(
        t("queue.no_room", name=workload.name, count=count),
        Tone.QUEUED,
        lines=(t("queue.no_room_next"),),
        buttons=(Button(t("button.leave_queue"), f"{leave} {workload.name}", about=workload.identity),),
    )
