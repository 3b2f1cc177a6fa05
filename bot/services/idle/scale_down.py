"""How a model goes to sleep by itself: never while anybody uses it, and never on an old view of it."""

from datetime import timedelta

from bot.core.chat.errors import UserError
from bot.core.chat.message import Turn
from bot.core.counters import SCALE_DOWNS
from bot.core.deployment.record import RecordChanges, SleepReason, SleepState
from bot.core.deployment.workload import Workload
from bot.core.idle.verdict import IdleState, IdleVerdict
from bot.core.ports import Cluster, Endpoint, Inference, Sampling
from bot.services.idle.activity import Activity

PROBE = [Turn("user", "ping")]


class ScaleDown:
    """Acts on a verdict, and looks a last time before it does."""

    def __init__(self, cluster: Cluster, inference: Inference, activity: Activity) -> None:
        self._cluster, self._inference, self._activity = cluster, inference, activity

    async def if_idle(self, workload: Workload, early: timedelta = timedelta(0)) -> bool:
        """If it is idle to the last look. While that is taken no question of ours reaches the model: it
        waits, and wakes the model if need be."""
        if self._activity.verdict(workload, early).state is not IdleState.IDLE:
            return False
        with self._activity.drain(workload.name):
            await self._activity.sample(workload)
            verdict = self._activity.verdict(workload, early)
            if verdict.state is not IdleState.IDLE:
                return False
            hours = bool(workload.record.office_hours)
            await self._to_zero(workload, SleepReason.OFFICE_HOURS if hours else SleepReason.IDLE, verdict)
        return True

    async def at_once(self, workload: Workload, reason: SleepReason) -> None:
        """Whatever it does: its time is over, or it has failed."""
        with self._activity.drain(workload.name):
            await self._to_zero(workload, reason, self._activity.verdict(workload))

    async def _to_zero(self, workload: Workload, reason: SleepReason, verdict: IdleVerdict) -> None:
        """Changed if anything about it changed since `workload` was read."""
        await self._cluster.scale(workload.name, 0, version=workload.version)
        SCALE_DOWNS.labels(reason.value).inc()
        state = SleepState(
            reason=reason,
            last_activity=verdict.since,
            samples_seen=verdict.seen,
            samples_expected=verdict.expected,
        )
        changes: RecordChanges = {"sleep_state": state, "keep_until": None}
        if reason is SleepReason.LEASE:
            changes["lease_ends_at"] = None
        await self._cluster.update_record(workload.name, **changes)

    async def probe(self, workload: Workload) -> None:
        """Ask one token: a server's figures are only fresh after a step of its engine."""
        try:
            endpoint: Endpoint = await self._cluster.endpoint(workload.name)
            async for _ in self._inference.answer(endpoint, PROBE, Sampling(max_tokens=1)):
                pass
        except UserError:
            return  # it does not answer: what it does stays unknown
        await self._activity.sample_after_probe(workload)
