"""The line of those who wait for GPUs: who starts next, and what the others are told."""

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
from bot.services.idle.activity import Activity

log = structlog.get_logger()


class GpuQueue:
    """Kept on the cluster: whoever waits has replicas 0, and since when in its record. `used` gives the
    GPU-seconds that a person held lately."""

    def __init__(
        self,
        cluster: Workloads,
        messenger: Messenger,
        activity: Activity,
        clock: Clock,
        used: Callable[[str], float],
    ) -> None:
        self._cluster, self._messenger = cluster, messenger
        self._activity, self._clock = activity, clock
        self._used = used
        self._advancing = asyncio.Lock()

    def must_wait(self, spec: Spec, record: Record) -> bool:
        """No node can take it now, or it is somebody else's turn. Where nodes cannot be read, the
        scheduler's own queue must do."""
        if not self._cluster.nodes():
            return False
        wish = self._wish(spec, record.changed(queued_since=self._clock.now()))
        others = [other for other in self._waiting() if other.name != spec.name]
        return spec.name not in startable(self._free(), in_order([*others, wish]))

    def turn(self, workload: Workload) -> QueuePosition | None:
        """Where it stands, if it waits here."""
        if workload.record.queued_since is None:
            return None
        line = in_order(self._waiting())
        names = [wish.name for wish in line]
        at = forecast(self._free(), self._releases(), line).get(workload.name)
        return (
            QueuePosition(names.index(workload.name) + 1, len(names), at) if workload.name in names else None
        )

    def asked_back(self) -> tuple[str, str]:
        """Of the models that have been idle for half their window the longest idle one, while somebody
        waits; and who. Nothing else is asked back before it is gone."""
        line = in_order(self._waiting())
        if not line:
            return "", ""
        idle = [(verdict.since, w.name) for w in self._ready() if (verdict := self._half_idle(w))]
        waiting = self._cluster.find(line[0].name)
        return (min(idle)[1], waiting.record.owner_name) if idle and waiting else ("", "")

    async def follow(self) -> None:
        """Whoever waits starts as soon as GPUs are free; for ever."""
        changes = self._cluster.changes()
        await self.advance()
        async for _ in changes:
            await self.advance()

    async def advance(self) -> None:
        """Start those whose turn it is."""
        async with self._advancing:
            line = in_order(self._waiting())
            for name in startable(self._free(), line) if line else []:
                workload = self._cluster.find(name)
                try:
                    if workload:  # not removed meanwhile
                        await self._start(workload)
                except UserError as error:  # started, but not told, or not yet: the next change tries again
                    log.warning("queue.not_advanced", workload=name, why=error.text.key)

    async def _start(self, workload: Workload) -> None:
        record = workload.record.changed(queued_since=None, start_requested_at=self._clock.now())
        await self._cluster.change(workload.spec, record, awake=True)
        if record.card_place is not None:
            reply = Reply(t("queue.turn", name=workload.name), Tone.LOADING)
            await self._messenger.post(record.card_place, reply, record.locale)

    def _waiting(self) -> list[QueueEntry]:
        return [self._wish(w.spec, w.record) for w in self._cluster.workloads() if w.record.queued_since]

    def _wish(self, spec: Spec, record: Record) -> QueueEntry:
        """The GPU-seconds of a week decide; where they are equal or not known, what is held now."""
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
        """Free GPUs by node, less those of models that are about to be placed."""
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
        """By leases and by what is idle: each model's GPUs on its node."""
        found = []
        for workload in self._ready():
            ends, due = workload.record.lease_ends_at, self._activity.verdict(workload).due
            sleeps = [due] if self._activity.policy.act and not workload.record.office_hours else []
            times = [*([ends] if ends else []), *sleeps]
            tp = workload.spec.tensor_parallel_size
            found += [Release(min(times), node, tp) for node in workload.nodes if times]
        return found

    def _half_idle(self, workload: Workload) -> IdleVerdict | None:
        half = self._activity.policy.window_of(workload) / 2
        verdict = self._activity.verdict(workload, early=half)
        return verdict if verdict.state is IdleState.IDLE and not workload.record.office_hours else None
