"""The sweep: what must happen by itself when its time has come. Today: leases end."""

import structlog

from bot.core.cards import buttons
from bot.core.errors import UserError
from bot.core.ports import Clock, Cluster, Messenger
from bot.core.reply import Reply, Tone
from bot.core.text import t
from bot.core.workload import Phase, Workload
from bot.services.activity import Activity

log = structlog.get_logger()


class Reaper:
    """Run every SWEEP_INTERVAL by the scheduler."""

    def __init__(self, cluster: Cluster, messenger: Messenger, activity: Activity, clock: Clock) -> None:
        self._cluster = cluster
        self._messenger = messenger
        self._activity = activity
        self._clock = clock

    async def sweep(self) -> None:
        """Look at every model's figures, and put to sleep those whose lease is over."""
        await self._activity.sweep()
        now = self._clock.now()
        for workload in self._cluster.workloads():
            ends = workload.record.ends
            if ends and now >= ends and workload.phase is not Phase.ASLEEP:
                try:
                    await self._end(workload)
                except UserError as error:  # changed meanwhile, or the API is away: next sweep
                    log.warning("lease not ended", workload=workload.name, why=error.text.key)

    async def _end(self, workload: Workload) -> None:
        await self._cluster.scale(workload.name, 0, version=workload.version)
        await self._cluster.remember(workload.name, ends=None)
        if workload.record.place is not None:
            text = t("lease.over", name=workload.name, count=workload.gpus_held)
            reply = Reply(text, tone=Tone.ASLEEP, buttons=buttons("wake", workload=workload))
            await self._messenger.post(workload.record.place, reply, workload.record.locale)
