"""What can be started: the demo in this terminal, and the service."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from prometheus_client import REGISTRY
from pydantic import SecretStr

from bot.app import background_jobs, clusters, platform_factory, wiring
from bot.app.gauges import Gauges
from bot.app.http_server import HttpServer
from bot.app.settings import PlatformSettingsByName, Settings
from bot.cluster.adapter import KubernetesCluster
from bot.commands import COMMANDS
from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.core.ports import Clock, Cluster, Leadership
from bot.grammar.command import by_word
from bot.observability.prometheus import Prometheus
from bot.platforms.shared.messengers import Messengers


class _Closable(Protocol):
    async def close(self) -> None:
        """End all connections."""


Closable = TypeVar("Closable", bound=_Closable)
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
    """The service, or the same in this terminal, until SIGTERM; then all that was opened is closed."""
    await _until_terminated(_run(settings, platform_settings, console, user, operator))


async def _run(
    settings: Settings, platform_settings: PlatformSettingsByName, console: bool, user: str, operator: bool
) -> None:
    async with (
        clusters.kubernetes(settings) as (cluster, clock),
        clusters.leadership(settings, guest=console) as leadership,
    ):
        if console:
            await _at_terminal(settings, cluster, clock, user, operator, 1.0, leadership)
        else:
            await _service(settings, platform_settings, cluster, clock, leadership)


async def _service(
    settings: Settings,
    platform_settings: PlatformSettingsByName,
    cluster: KubernetesCluster,
    clock: Clock,
    leadership: Leadership,
) -> None:
    """Until it is cancelled."""
    async with AsyncExitStack() as opened:
        inference = _closed_by(opened, wiring.inference_of(settings))
        platforms = platform_factory.create(settings, platform_settings, cluster.changes)
        server_admins = frozenset(group for platform in platforms for group in platform.admin_groups)
        url, messengers = settings.prometheus_url, Messengers(platforms)
        monitoring = _closed_by(opened, Prometheus(url, settings.namespace)) if url else None
        built = _closed_by(
            opened, wiring.build(settings, cluster, inference, messengers, clock, server_admins, monitoring)
        )
        REGISTRY.register(Gauges(built))
        http_server = HttpServer(
            settings.http_host,
            settings.http_port,
            ready=lambda: cluster.synced and all(platform.ready for platform in platforms),
            down=built.supervisor.down,
            endpoints=platform_factory.endpoints(platforms),
        )
        await http_server.start()
        opened.push_async_callback(http_server.stop)
        await background_jobs.serve(settings, built, platforms, leadership)


def _closed_by(opened: AsyncExitStack, what: Closable) -> Closable:
    """It is closed at the end, whatever happens."""
    opened.push_async_callback(what.close)
    return what


async def _until_terminated(serving: Coroutine[Any, Any, None]) -> None:
    """Until it ends by itself, or on SIGTERM, which is no error."""
    stop = asyncio.ensure_future(serving)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.cancel)
    try:
        await stop
    except asyncio.CancelledError:
        if not stop.cancelled():
            raise


async def _at_terminal(
    settings: Settings,
    cluster: Cluster,
    clock: Clock,
    user: str,
    operator: bool,
    speed: float,
    leadership: Leadership | None = None,
) -> None:
    """Until the person leaves. With a `leadership` to share they are told whether we lead."""
    from bot.platforms.console.adapter import TERMINAL, Console  # a tenth of a second

    def names() -> list[str]:
        return [*by_word(COMMANDS), *(workload.name for workload in cluster.workloads())]

    async def announce(leads: bool) -> None:
        if leadership is not None:
            told = t("console.whole") if leads else t("console.guest", pod=leadership.holder)
            await console.post(TERMINAL, Reply(told))

    async def gone(pod: str) -> None:
        await console.post(TERMINAL, Reply(t("console.gone", pod=pod)))

    interval = max(settings.sweep_interval, timedelta(seconds=SHORTEST_SWEEP * speed))
    settings = settings.model_copy(update={"sweep_interval": interval})
    console = Console(wiring.phrasebook(settings, clock), settings.language, user, names)
    async with AsyncExitStack() as opened:
        inference = _closed_by(opened, wiring.inference_of(settings))
        admins, messengers = frozenset({user} if operator else ()), Messengers([console])
        built = _closed_by(opened, wiring.build(settings, cluster, inference, messengers, clock, admins))
        seconds = interval.total_seconds() / speed
        lead = leadership or background_jobs.ALONE
        await background_jobs.serve(
            settings, built, [console], lead, interval=seconds, announce=announce, gone=gone
        )
