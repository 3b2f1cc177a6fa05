"""What can be started: the demo in this terminal, and the service."""

import asyncio
import signal
from datetime import timedelta

from prometheus_client import REGISTRY
from pydantic import SecretStr

from bot.app import background, clusters, platform_factory, wiring
from bot.app.gauges import Gauges
from bot.app.http_server import HttpServer
from bot.app.settings import PlatformSettingsByName, Settings
from bot.commands import COMMANDS
from bot.core.ports import Clock, Cluster
from bot.grammar.command import by_word
from bot.observability.prometheus import Prometheus
from bot.platforms.console.adapter import Console
from bot.platforms.shared.messengers import Messengers

SHORTEST_SWEEP = 0.2
"""Seconds between two sweeps, however fast the clock of a demo runs."""


async def demo(settings: Settings, speed: float, user: str, operator: bool) -> None:
    """The whole bot in this terminal on the embedded simulator."""
    async with clusters.simulated(speed) as (cluster, clock):
        passing: dict[str, object] = {
            "namespace": cluster.namespace,
            "database_url": SecretStr("sqlite://"),
            "admin_channel": "console:terminal",
        }
        settings = settings.model_copy(update=passing)
        await _at_terminal(settings, cluster, clock, user, operator, speed)


async def run(
    settings: Settings, platform_settings: PlatformSettingsByName, console: bool, user: str, operator: bool
) -> None:
    """The service; or the same in this terminal."""
    async with clusters.kubernetes(settings) as (cluster, clock):
        if console:
            await _at_terminal(settings, cluster, clock, user, operator, 1.0)
            return
        inference = wiring.inference_of(settings)
        platforms = platform_factory.create(settings, platform_settings, cluster.changes)
        server_admins = frozenset(group for platform in platforms for group in platform.admin_groups)
        url = settings.prometheus_url
        monitoring = Prometheus(url, settings.namespace) if url else None
        messengers = Messengers(platforms)
        built = wiring.build(
            settings, cluster, inference, messengers, clock, server_admins, monitoring=monitoring
        )
        REGISTRY.register(Gauges(built))
        health = HttpServer(
            settings.http_host,
            settings.http_port,
            lambda: cluster.synced and all(platform.ready for platform in platforms),
            platform_factory.endpoints(platforms),
        )
        stop = asyncio.ensure_future(background.serve(settings, built, platforms))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.cancel)
        await health.start()
        try:
            await stop
        except asyncio.CancelledError:
            if not stop.cancelled():
                raise
        finally:
            opened = [built.close, inference.close, *([monitoring.close] if monitoring else [])]
            for close in (health.stop, *opened):
                await close()


async def _at_terminal(
    settings: Settings, cluster: Cluster, clock: Clock, user: str, operator: bool, speed: float
) -> None:
    def names() -> list[str]:
        return [*by_word(COMMANDS), *(workload.name for workload in cluster.workloads())]

    interval = max(settings.sweep_interval, timedelta(seconds=SHORTEST_SWEEP * speed))
    settings = settings.model_copy(update={"sweep_interval": interval})
    console = Console(wiring.phrasebook(settings), settings.language, user, names)
    inference = wiring.inference_of(settings)
    admins = frozenset({user} if operator else ())
    built = wiring.build(settings, cluster, inference, Messengers([console]), clock, admins)
    try:
        await background.serve(settings, built, [console], interval=interval.total_seconds() / speed)
    finally:
        await built.close()
        await inference.close()
