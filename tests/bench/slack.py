"""Slack: how fast a command is acknowledged while fifty answers stream, and that none is lost."""

import asyncio
import itertools
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from aiohttp import web

from tests.bench import row
from tests.conftest import eventually
from tests.fakes.slack import APP_TOKEN, BOT, BOT_TOKEN, FakeSlack, words

STREAMS, COMMANDS, PER_SECOND, REFRESHES, MANY = 50, 400, 50, 10, 2000
TOKENS_PER_SECOND = 40
CROWD = tuple(f"U{number:03}" for number in range(10))
"""Who asks: nobody may have more than 5 questions and 20 requests at work."""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


async def measure() -> list[dict[str, Any]]:
    """The bot and a bare Bolt app, each in a process of its own, on the same workspace."""
    fake = FakeSlack()
    fake.tiers = False
    url = await fake.start()
    fake.channel("C1")
    for user in ("UADA", "UBOT", *CROWD):
        fake.person(user)
    try:
        async with model() as model_url:
            env = {name: value for name, value in os.environ.items() if name not in PROXIES}
            env |= {"SLACK_API_URL": url, "SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN}
            env["MODEL_URL"] = model_url
            async with process("bare", env):
                await fake.connected(1)
                bare = await acknowledged(fake)
            async with process("ours", env) as bot:
                await fake.connected(2)
                return await ours(fake, bare, bot.pid)
    finally:
        await fake.stop()


async def ours(fake: FakeSlack, bare: list[float], pid: int) -> list[dict[str, Any]]:
    """Our figures, and the bare one's beside them."""
    await fake.command("UADA", "deploy tinyllama")
    await eventually(lambda: any("is ready" in words(m) for m in fake.messages.values()))
    at_once = await two_hundred(fake, pid)
    asked = [
        await fake.say(CROWD[number % len(CROWD)], f"<@{BOT}> ask tinyllama go on")
        for number in range(STREAMS)
    ]
    await eventually(lambda: all(fake.posted("C1", thread) for thread in asked), 120)
    mine = await acknowledged(fake)
    lost = await refreshed(fake)
    detail = f"p99 {high(mine):.1f} against {high(bare):.1f} ms, medians {mid(mine):.1f} and {mid(bare):.1f}"
    return [
        row(f"ack while {STREAMS} answers stream : bare Bolt, idle", high(mine) / high(bare), 1.5, detail),
        row(f"of {MANY} commands at {PER_SECOND}/s unacknowledged", lost, 0, f"{fake.refreshed} refreshes"),
        *at_once,
    ]


async def acknowledged(fake: FakeSlack) -> list[float]:
    """Milliseconds from the envelope to its acknowledgement, one command after the other."""
    await asyncio.sleep(1)
    for number in range(COMMANDS + 20):
        if number == 20:  # the first ones open connections
            fake.acks.clear()
        await fake.command("UADA", "status")
        await asyncio.sleep(0.005)
    return [seconds * 1000 for seconds in fake.acks.values()]


async def refreshed(fake: FakeSlack) -> int:
    """How many of many commands nobody acknowledges while connections are renewed."""
    fake.unacknowledged.clear()
    sending, begun = [], monotonic()
    for number in range(MANY):
        sending.append(asyncio.create_task(fake.command("UADA", "whoami")))
        if number % (MANY // REFRESHES) == MANY // REFRESHES - 1:
            await fake.refresh()
        await asyncio.sleep(max(0.0, begun + number / PER_SECOND - monotonic()))
    await asyncio.gather(*sending)
    return len(fake.unacknowledged)


async def two_hundred(fake: FakeSlack, pid: int) -> list[dict[str, Any]]:
    """All at the same moment: each is answered once."""
    for _ in range(20):
        await fake.command("UADA", "whoami")
    await eventually(lambda: len(fake.whispers) >= 20)
    before, resident = len(fake.whispers), memory(pid)
    await asyncio.gather(*(fake.command(user, "whoami") for user in CROWD for _ in range(20)))
    await eventually(lambda: len(fake.whispers) - before >= 200)
    await asyncio.sleep(1)
    growth, answers = memory(pid) - resident, len(fake.whispers) - before
    return [
        row("of 200 commands at once not answered, or twice", abs(answers - 200), 0, f"{answers} answers"),
        row("memory growth by them, MiB", growth, 20, f"{resident:.0f} before"),
    ]


@asynccontextmanager
async def model() -> AsyncIterator[str]:
    """A model server that writes at the speed of a V100, as much as is asked for or without end."""

    async def chat(request: web.Request) -> web.StreamResponse:
        most = (await request.json()).get("max_tokens")
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        chunk = {"choices": [{"delta": {"content": " word"}, "finish_reason": None}]}
        line = f"data: {json.dumps(chunk)}\n\n".encode()
        with suppress(ConnectionResetError):
            for _ in itertools.count() if most is None else range(most):
                await stream.write(line)
                await asyncio.sleep(1 / TOKENS_PER_SECOND)
            await stream.write(b"data: [DONE]\n\n")
        return stream

    server = web.Application()
    server.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def process(kind: str, env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """One of the two, until the end of the block."""
    command = [sys.executable, "-m", "tests.bench.slack_bot", kind]
    started = await asyncio.create_subprocess_exec(*command, env=env)
    try:
        yield started
    finally:
        started.kill()
        await started.wait()


def memory(pid: int) -> float:
    """MiB resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def high(values: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[98]


def mid(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)
