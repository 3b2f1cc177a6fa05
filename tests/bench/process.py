"""The process: from start to the first answer, and memory after 1,000 commands."""

import asyncio
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench import row

LINES = [
    "status",
    "models qwen",
    "plan llama-3-8b tp=1",
    "gpus",
    "help deploy",
    "depoly x",
    "ask hello",
    "whoami",
]


async def measure() -> list[dict[str, Any]]:
    """Median of five starts; one process with a model, 1,000 commands."""
    starts = [await _start() for _ in range(5)]
    at_500, at_1000 = await _memory()
    return [
        row(
            "start to first answer, s",
            statistics.median(starts),
            2.5,
            f"bare python takes {await _bare():.2f} s",
        ),
        row("memory after 1,000 commands, MiB", at_1000, 160, "resident, with the simulator in the process"),
        row("growth over the last 500, MiB", at_1000 - at_500, 2, f"{at_500:.1f} after 500"),
    ]


async def _demo() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "demo", "--speed", "1000"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _say(bot: asyncio.subprocess.Process, line: str) -> None:
    """Say a line, and wait until the next one, which marks the end, was answered."""
    assert bot.stdin and bot.stdout
    bot.stdin.write(f"{line}\nhelp whoami\n".encode())
    async for out in bot.stdout:
        if out.startswith(b"  /llm whoami"):
            return


async def _start() -> float:
    begun = time.perf_counter()
    bot = await _demo()
    await _say(bot, "status")
    took = time.perf_counter() - begun
    await _end(bot)
    return took


async def _bare() -> float:
    begun = time.perf_counter()
    await (await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")).wait()
    return time.perf_counter() - begun


async def _memory() -> tuple[float, float]:
    bot = await _demo()
    await _say(bot, "deploy tinyllama")
    seen = []
    for number in range(500):  # each _say is two commands
        await _say(bot, LINES[number % len(LINES)])
        if number in (249, 499):
            seen.append(_resident(bot.pid))
    await _end(bot)
    return seen[0], seen[1]


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found
    return int(found[1]) / 1024


async def _end(bot: asyncio.subprocess.Process) -> None:
    assert bot.stdin and bot.stdout
    bot.stdin.close()
    await bot.stdout.read()
    await bot.wait()
