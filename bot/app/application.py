"""The services of one cluster together, and what they do at each tick of the clock."""

import asyncio
from dataclasses import dataclass

from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.counters import SWEEP
from bot.core.supervision import Supervisor
from bot.dispatch import Dispatcher
from bot.grammar.command import Services
from bot.services.deployments.gpu_queue import GpuQueue
from bot.services.idle.sweep import Sweep
from bot.services.operations.alerts import AlertService
from bot.services.operations.usage_recorder import Measured, UsageRecorder
from bot.storage.ledger import SqlLedger

LONGEST_SWEEP_SECONDS = 600.0
"""A sweep that takes longer hangs: it is given up, counts as failed, and the next one begins."""
LEDGER_SECONDS = 10.0
"""So long a sweep waits for the ledger, at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The services of one cluster, and the road to them."""

    dispatcher: Dispatcher
    services: Services
    idle_sweep: Sweep
    gpu_queue: GpuQueue
    ledger: SqlLedger
    usage_recorder: UsageRecorder
    supervisor: Supervisor
    """Of what goes on in the background; knows what of it is down."""
    bulkhead: Bulkhead
    """Around what is done there about each model; knows what of it fails."""

    @property
    def alerts(self) -> AlertService:
        """What admins are told."""
        return self.services.alerts

    async def sweep(self) -> None:
        """Look what the models do, start whose turn it is, and do what is due; at last write down what was
        held when it began. No part of it stops another one."""
        with SWEEP.time(), self.bulkhead.isolated(WorkKind.SWEEP):
            async with asyncio.timeout(LONGEST_SWEEP_SECONDS):
                await self._sweep()
        self.bulkhead.forget_all_but(workload.name for workload in self.services.cluster.workloads())

    async def _sweep(self) -> None:
        isolated, measured = self.bulkhead.isolated, None
        with isolated(WorkKind.SAMPLE):
            await self.services.activity.sweep()
        with isolated(WorkKind.USAGE):
            measured = self.usage_recorder.measure()
        with isolated(WorkKind.QUEUE):
            await self.gpu_queue.advance()
        await self.idle_sweep.run()
        if measured:
            await self._write_usage(measured)

    async def _write_usage(self, measured: Measured) -> None:
        """A slow database delays nothing but itself."""
        with self.bulkhead.isolated(WorkKind.USAGE):
            async with asyncio.timeout(LEDGER_SECONDS):
                await self.usage_recorder.write(measured)

    async def look(self) -> None:
        """What commands need of a sweep while another process does it."""
        await self.services.activity.sweep()
        await self.usage_recorder.look()

    async def tick(self) -> None:
        """Every SWEEP_INTERVAL: a sweep; then admins hear what is wrong, be it that the sweep has failed. A
        sweep that is cancelled tells nothing: somebody else may lead by now."""
        await self.sweep()
        await self.alerts.look()

    async def report(self) -> None:
        """Every minute of an hour in the morning: the report to admins, once."""
        with self.bulkhead.isolated(WorkKind.REPORT):
            await self.services.reports.morning()

    async def close(self) -> None:
        """End what only this app uses; what it was built from is closed by whoever made it."""
        await self.ledger.close()
