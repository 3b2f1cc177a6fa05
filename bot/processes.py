"""What can be started: the demo in this terminal, and the service."""

import asyncio
import signal
from datetime import timedelta

from prometheus_client import REGISTRY
from pydantic import SecretStr

from bot import app, chats, serving, worlds
from bot.commands import COMMANDS
from bot.config import Settings
from bot.core.ports import Clock, Cluster
from bot.health import Health
from bot.metrics import Metrics
from bot.platforms.base import Platform
from bot.platforms.console.adapter import Console
from bot.platforms.messengers import Messengers
from bot.prometheus import Prometheus

SHORTEST_SWEEP = 0.2
"""Seconds between two sweeps, however fast the clock of a demo runs."""


async def demo(settings: Settings, speed: float, user: str, operator: bool) -> None:
    """The whole bot in this terminal on the embedded simulator."""
    async with worlds.simulated(speed) as (cluster, clock):
        passing: dict[str, object] = {
            "namespace": cluster.namespace,
            "database_url": SecretStr("sqlite://"),
            "admin_channel": "console:terminal",
        }
        settings = settings.model_copy(update=passing)
        await _at_terminal(settings, cluster, clock, user, operator, speed)


async def run(settings: Settings, console: bool, user: str, operator: bool) -> None:
    """The service; or the same in this terminal."""
    async with worlds.kubernetes(settings) as (cluster, clock):
        if console:
            await _at_terminal(settings, cluster, clock, user, operator, 1.0)
            return
        inference = app.inference_of(settings)
        slack, mattermost = chats.slack(settings, cluster.changes), chats.mattermost(settings)
        platforms: list[Platform] = [chat for chat in (slack, mattermost) if chat]
        url = settings.prometheus_url
        monitoring = Prometheus(url, settings.namespace) if url else None
        messengers = Messengers(platforms)
        built = app.build(settings, cluster, inference, messengers, clock, monitoring=monitoring)
        REGISTRY.register(Metrics(built))
        health = Health(
            settings.http_host,
            settings.http_port,
            lambda: cluster.synced and all(platform.ready for platform in platforms),
            chats.endpoints(settings, slack, mattermost),
        )
        stop = asyncio.ensure_future(serving.serve(settings, built, platforms))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.cancel)
        await health.start()
        try:
            await stop
        except asyncio.CancelledError:
            if not stop.cancelled():
                raise
        finally:
            await health.stop()
            await inference.close()


async def _at_terminal(
    settings: Settings, cluster: Cluster, clock: Clock, user: str, operator: bool, speed: float
) -> None:
    def names() -> list[str]:
        return [*COMMANDS, *(workload.name for workload in cluster.workloads())]

    interval = max(settings.sweep_interval, timedelta(seconds=SHORTEST_SWEEP * speed))
    settings = settings.model_copy(update={"sweep_interval": interval})
    console = Console(app.phrasebook(settings), settings.language, user, names)
    inference = app.inference_of(settings)
    try:
        built = app.build(
            settings, cluster, inference, Messengers([console]), clock, user if operator else ""
        )
        await serving.serve(settings, built, [console], interval=interval.total_seconds() / speed)
    finally:
        await inference.close()
