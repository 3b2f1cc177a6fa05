"""The services of one cluster together, and what they do at each tick of the clock."""

import asyncio
from dataclasses import dataclass

import structlog

from bot.core.counters import SWEEP
from bot.core.supervision import Supervisor
from bot.dispatch import Dispatcher
from bot.grammar.command import Services
from bot.services.deployments.gpu_queue import GpuQueue
from bot.services.idle.sweep import Sweep
from bot.services.idle.sweep_failures import SweepFailures
from bot.services.operations.alerts import AlertService
from bot.services.operations.usage_recorder import Measured, UsageRecorder
from bot.storage.ledger import SqlLedger

LONGEST_SWEEP_SECONDS = 600.0
"""A sweep that takes longer hangs: it is given up, counts as failed, and the next one begins."""
LEDGER_SECONDS = 10.0
"""So long a sweep waits for the ledger, at its end."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The services of one cluster, and the road to them."""

    dispatcher: Dispatcher
    services: Services
    idle_sweep: Sweep
    gpu_queue: GpuQueue
    ledger: SqlLedger
    usage_recorder: UsageRecorder
    sweep_failures: SweepFailures
    supervisor: Supervisor
    """Of what goes on in the background; knows what of it is down."""

    @property
    def alerts(self) -> AlertService:
        """What admins are told."""
        return self.services.alerts

    async def sweep(self) -> None:
        """Look what the models do, start whose turn it is, and do what is due; at last write down what was
        held when it began."""
        with SWEEP.time(), self.sweep_failures.counting("sweep"):
            async with asyncio.timeout(LONGEST_SWEEP_SECONDS):
                await self._sweep()
        self.sweep_failures.forget_all_but(workload.name for workload in self.services.cluster.workloads())

    async def _sweep(self) -> None:
        await self.services.activity.sweep()
        measured = self.usage_recorder.measure()
        await self.gpu_queue.advance()
        await self.idle_sweep.run()
        await self._write_usage(measured)

    async def _write_usage(self, measured: Measured) -> None:
        """A slow database delays nothing but itself."""
        try:
            async with asyncio.timeout(LEDGER_SECONDS):
                await self.usage_recorder.write(measured)
        except TimeoutError:
            log.warning("usage.not_written", seconds=LEDGER_SECONDS)

    async def look(self) -> None:
        """What commands need of a sweep while another process does it."""
        await self.services.activity.sweep()
        await self.usage_recorder.look()

    async def tick(self) -> None:
        """Every SWEEP_INTERVAL: a sweep; then admins hear what is wrong, be it that the sweep has failed. A
        sweep that is cancelled tells nothing: somebody else may lead by now."""
        try:
            await self.sweep()
        except Exception:
            await self.alerts.look()
            raise
        await self.alerts.look()

    async def close(self) -> None:
        """End what only this app uses; what it was built from is closed by whoever made it."""
        await self.ledger.close()
