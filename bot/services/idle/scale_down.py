"""Puts models to sleep without being asked: never while somebody uses them, never by an outdated view."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from bot.core.chat.errors import UserError
from bot.core.chat.message import Turn
from bot.core.counters import SCALE_DOWNS
from bot.core.deployment.record import RecordChanges, SleepReason, SleepState
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle.verdict import IdleState, IdleVerdict
from bot.core.ports import Clock, Cluster, Endpoint, Inference, Sampling
from bot.services.idle.activity import Activity

PROBE = [Turn("user", "ping")]
"""The question of a probe."""
PROBE_SECONDS = 10.0
"""How long a server may take to answer a probe; the end of the sweep waits for it."""


class ScaleDown:
    """Scales workloads to 0 and records why. UserError when the cluster refuses, Changed when the workload
    has changed since it was read."""

    def __init__(self, cluster: Cluster, inference: Inference, activity: Activity, clock: Clock) -> None:
        self._cluster, self._inference = cluster, inference
        self._activity, self._clock = activity, clock

    async def if_idle(self, workload: Workload, early: timedelta = timedelta(0)) -> bool:
        """Put it to sleep if a last sample shows that it is still idle, with a window shorter by `early`.
        Returns whether it was. Meanwhile questions from chat wait; they wake the model if it has gone to
        sleep."""
        if self._activity.verdict(workload, early).state is not IdleState.IDLE:
            return False
        with self._activity.drain(workload.name):
            seen = await self._activity.sample(workload)
            verdict = self._activity.verdict(workload, early)
            if seen is None or verdict.state is not IdleState.IDLE:
                return False
            hours = bool(workload.record.office_hours)
            await self._to_zero(workload, SleepReason.OFFICE_HOURS if hours else SleepReason.IDLE, verdict)
        return True

    async def at_once(self, workload: Workload, reason: SleepReason) -> None:
        """Put it to sleep even if it is used, because its lease is over or it has failed."""
        with self._activity.drain(workload.name):
            await self._to_zero(workload, reason, self._activity.verdict(workload))

    async def _to_zero(self, workload: Workload, reason: SleepReason, verdict: IdleVerdict) -> None:
        """Scale it to 0 and record why, in one step; Changed if it has changed since `workload` was read."""
        state = SleepState(
            reason=reason,
            slept_at=self._clock.now(),
            last_activity=verdict.since,
            seen=verdict.seen or None,
            window=verdict.window,
            cause=workload.cause if workload.phase is Phase.FAILED else "",
        )
        changes: RecordChanges = {
            "sleep_state": state,
            "keep_until": None,
            "queued_since": None,
            "last_nodes": workload.nodes_to_remember,
        }
        await self._cluster.scale(workload.name, 0, workload.version, **changes)
        SCALE_DOWNS.labels(reason.value).inc()

    async def probe(self, workload: Workload) -> None:
        """Ask its server for one token and take a sample: its metrics are updated only when its engine does
        something. A server that does not answer has been probed, too."""
        endpoint: Endpoint = await self._cluster.endpoint(workload.name)
        with suppress(UserError, TimeoutError):
            async with asyncio.timeout(PROBE_SECONDS):
                async for _ in self._inference.answer(endpoint, PROBE, Sampling(max_tokens=1)):
                    pass
        await self._activity.sample_after_probe(workload)
