"""Mattermost: from a mention to the reply, beside mmpy_bot doing a bare echo on the same server."""

import asyncio
import gc
import os
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.bench import row
from tests.conftest import eventually
from tests.fakes.mattermost import BOT, TOKEN, FakeMattermost

ROUNDS = {1: 300, 10: 600, 50: 1500}
"""Mentions in all, by how many people wait at the same time."""
SLOW_SECONDS, SLOW, LIMIT_MS = 5.0, 10, 200
OTHER = Path(".venv-mmpy/bin/python")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class Server(FakeMattermost):
    """Tells when the bot has answered a post."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: dict[str, asyncio.Future[None]] = {}

    def _create(self, user: str, channel: str, root: str, text: str, **more: Any) -> dict[str, Any]:
        if user == BOT and root in self.answered:
            self.answered.pop(root).set_result(None)
        return super()._create(user, channel, root, text, **more)

    async def ask(self, user: str) -> float:
        """Milliseconds from a mention to the reply."""
        begun = perf_counter()
        asked = self.say(user, "@llm gpus")
        answered = self.answered[asked] = asyncio.get_running_loop().create_future()
        await answered
        return (perf_counter() - begun) * 1000


async def measure() -> list[dict[str, Any]]:
    """Both in turn, twice."""
    theirs: dict[int, list[float]] = {people: [] for people in ROUNDS}
    ours: dict[int, list[float]] = {people: [] for people in ROUNDS}
    gc.disable()  # a pause of this process would count as theirs
    for _ in range(2):
        gc.collect()
        await in_process("BENCH", [str(OTHER), "tests/bench/mmpy_echo.py"], theirs)
        gc.collect()
        command = [sys.executable, "-m", "tests.bench.mattermost_bot"]
        late = await in_process("MATTERMOST", command, ours)
    gc.enable()
    rows = []
    for people, mine in ours.items():
        other = theirs[people]
        mid = f"{statistics.median(mine):.2f} against {statistics.median(other):.2f} ms"
        high = f"{p99(mine):.1f} against {p99(other):.1f} ms"
        what = f"Mattermost, mention to reply, {people} at once : mmpy_bot"
        rows.append(row(f"{what}, median", statistics.median(mine) / statistics.median(other), 1.0, mid))
        rows.append(row(f"{what}, p99", p99(mine) / p99(other), 1.0, high))
    rows.append(row(f"ms, a command while {SLOW} others wait {SLOW_SECONDS:.0f} s", late, LIMIT_MS, ""))
    return rows


async def in_process(prefix: str, command: list[str], found: dict[int, list[float]]) -> float:
    """A bot with a server of its own: adds the times by concurrency; of one who comes while ten wait."""
    server = Server()
    url = await server.start()
    people = [server.person(f"p{number}") for number in range(max(ROUNDS))]
    server.channel("c1", members=people)
    try:
        async with process(command, {f"{prefix}_URL": url, f"{prefix}_TOKEN": TOKEN}):
            await eventually(lambda: server.sockets)
            await asyncio.wait_for(server.ask(people[0]), 10)
            for many, total in ROUNDS.items():
                found[many] += await closed_loop(server, people[:many], total)
            return await eleventh(server, people) if prefix == "MATTERMOST" else 0.0
    finally:
        await server.stop()


async def closed_loop(server: Server, people: list[str], total: int) -> list[float]:
    """Each person asks again as soon as the answer is there; the first answers of all do not count."""

    async def person(user: str) -> list[float]:
        return [await server.ask(user) for _ in range(total // len(people) + 1)][1:]

    return [time for times in await asyncio.gather(*map(person, people)) for time in times]


async def eleventh(server: Server, people: list[str]) -> float:
    """Milliseconds."""
    server.faults["POST /posts"] = [SLOW_SECONDS] * SLOW
    waiting = [asyncio.create_task(server.ask(user)) for user in people[:SLOW]]
    await eventually(lambda: not server.faults["POST /posts"])
    took = await server.ask(people[SLOW])
    await asyncio.gather(*waiting)
    return took


@asynccontextmanager
async def process(command: list[str], told: dict[str, str]) -> AsyncIterator[None]:
    """Until the end of the block."""
    env = {name: value for name, value in os.environ.items() if name not in PROXIES}
    started = await asyncio.create_subprocess_exec(*command, env=env | told)
    try:
        yield
    finally:
        started.kill()
        await started.wait()


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[98]
