"""The sweep over many models, each with a metrics endpoint of its own, in another process."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from time import perf_counter
from typing import Any

import aiohttp

from bot.app import wiring
from bot.app.clock import SystemClock
from bot.app.settings import Settings
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.ports import Server
from bot.platforms.shared.messengers import Messengers
from bot.simulator.cluster import SimulatedCluster
from tests.bench import row
from tests.bench.slack import memory

MANY, FEW, SWEEPS = 2000, 100, 200


class Hall(SimulatedCluster):
    """So many models, all ready and at rest."""

    def __init__(self, count: int, url: str, clock: SystemClock) -> None:
        super().__init__(clock, {})
        record = Record(owner="ada", owner_name="ada", start_requested_at=clock.now())
        self.models = [_model(f"m{number}", record, clock.now()) for number in range(count)]
        self.ways = {m.name: [Server(f"{m.name}/0", f"{url}/{m.name}")] for m in self.models}

    def workloads(self) -> list[Workload]:
        return self.models

    def servers(self, name: str) -> list[Server]:
        return self.ways[name]


def _model(name: str, record: Record, now: datetime) -> Workload:
    spec = Spec(name=name, model="m", repo="m/m", max_model_len=2048)
    return Workload(spec=spec, record=record, phase=Phase.READY, since=now, created=now)


async def measure() -> list[dict[str, Any]]:
    """Time of a sweep of 1,000, scrapes of it, growth over 200, and the cost of one with 100 and 2,000."""
    async with endpoints() as url:
        few, _, _ = await swept(FEW, url, 10)
        many, _, _ = await swept(MANY, url, 3)
        wall, scrapes, growth = await swept(1000, url, SWEEPS)
    each = f"{few / FEW * 1e6:.0f} and {many / MANY * 1e6:.0f} µs each"
    return [
        row("sweep of 1,000 models, s", wall, 2.5, "the median of them"),
        row("scrapes of a model in a sweep", scrapes, 1, f"over {SWEEPS} sweeps"),
        row(f"memory growth over {SWEEPS} sweeps, MiB", growth, 5, ""),
        row("cost of a model in a sweep of 2,000 : of 100", (many / MANY) / (few / FEW), 1.5, each),
    ]


async def swept(count: int, url: str, sweeps: int) -> tuple[float, float, float]:
    """Median seconds of a sweep, scrapes per model and sweep, and MiB that the second half added."""
    clock = SystemClock()
    settings = Settings(_env_file=None)
    inference = wiring.inference_of(settings)
    sweep = wiring.build(settings, Hall(count, url, clock), inference, Messengers([]), clock).sweep
    await sweep()
    before, times, half = await asked(url), [], 0.0
    for number in range(sweeps):
        if number == sweeps // 2:
            half = memory_now()
        begun = perf_counter()
        await sweep()
        times.append(perf_counter() - begun)
    scrapes = (await asked(url) - before) / (count * sweeps)
    await inference.close()
    return sorted(times)[len(times) // 2], scrapes, memory_now() - half


def memory_now() -> float:
    """MiB resident of this process."""
    return memory(os.getpid())


async def asked(url: str) -> int:
    """How many scrapes there were."""
    async with aiohttp.ClientSession(trust_env=False) as session, session.get(f"{url}/scrapes") as answer:
        return int(await answer.text())


@asynccontextmanager
async def endpoints() -> AsyncIterator[str]:
    """The metrics of all models."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.bench.metrics_server", str(port)]
    process = await asyncio.create_subprocess_exec(*command)
    url = f"http://127.0.0.1:{port}"
    try:
        until = perf_counter() + 20
        while perf_counter() < until:
            try:
                await asked(url)
                break
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
        yield url
    finally:
        process.kill()
        await process.wait()
