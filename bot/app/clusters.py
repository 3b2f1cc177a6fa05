"""Where the bot can live: on a real cluster, or on the embedded one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.app.clock import SystemClock
from bot.app.engines import ENGINE
from bot.app.settings import Settings
from bot.app.wiring import workload_settings
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.lease import lease_leadership
from bot.core.ports import Clock, Leadership
from bot.core.supervision import Supervisor
from bot.simulator.clock import SpeedClock
from bot.simulator.cluster import SimulatedCluster
from bot.simulator.server import SimulatedServer

TOKEN_PAUSE, READING_SPEED = 0.025, 60.0
"""Seconds between simulated tokens, up to this speed of the clock: people read no faster."""


@asynccontextmanager
async def simulated(speed: float) -> AsyncIterator[tuple[SimulatedCluster, Clock]]:
    """The embedded cluster with its server, and the clock they live by."""
    clock = SpeedClock(speed)
    cluster = SimulatedCluster(clock)
    server = SimulatedServer(cluster, TOKEN_PAUSE / max(1.0, speed / READING_SPEED))
    cluster.url = await server.start()
    life = asyncio.create_task(Supervisor().keep("simulator", cluster.run))
    try:
        yield cluster, clock
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await server.stop()


@asynccontextmanager
async def kubernetes(settings: Settings) -> AsyncIterator[tuple[KubernetesCluster, Clock]]:
    """The real cluster with its mirror; UserError when it cannot be reached."""
    cluster = KubernetesCluster(
        settings.kubeconfig,
        workload_settings(settings),
        settings.inference_url_template,
        ENGINE,
    )
    async with cluster:
        yield cluster, SystemClock()


@asynccontextmanager
async def leadership(settings: Settings, *, guest: bool) -> AsyncIterator[Leadership]:
    """Over the background work on the real cluster; a guest makes room for the service."""
    async with lease_leadership(settings.kubeconfig, settings.namespace, guest=guest) as lease:
        yield lease
