"""Parsing 10 kB of nonsense."""

import time
from contextlib import suppress
from typing import Any

from bot.app import wiring
from bot.app.settings import Settings
from bot.commands import COMMANDS
from bot.core.chat.errors import UserError
from bot.core.failures.diagnosis import diagnose
from bot.grammar.parsing import parse
from tests.bench import row

LINE = "(EngineCore pid=81) INFO 04-19 10:50:43 [loggers.py:118] Avg prompt throughput: 12.0 tokens/s\n"
NONSENSE = [
    "x " * 5_000,
    '"' * 10_000,
    "deploy " + "--a " * 2_500,
    "deploy " + "'a " * 3_300,
    "deploy " + " ".join(f"k{n}=v" for n in range(1_400)),
    "ask " + "temp=1 " * 1_400,
    "deploy " + "x" * 9_990,
]


def _diagnose() -> float:
    """MB/s of a long healthy log, in pieces."""
    piece = LINE * (2**20 // len(LINE))
    begun = time.perf_counter()
    assert not diagnose(piece for _ in range(50)).failed
    return 50 * len(piece) / 1e6 / (time.perf_counter() - begun)


async def measure() -> list[dict[str, Any]]:
    """The slowest of some, each the best of five; and how fast logs are read."""
    names = wiring.planner(Settings(_env_file=None)).catalog.names()
    slowest = max(min(_time(text, names) for _ in range(5)) for text in NONSENSE)
    return [
        row("parse 10 kB of nonsense, ms", slowest * 1000, 5, f"slowest of {len(NONSENSE)}"),
        row("diagnose a log, MB/s", _diagnose(), 20, "50 MB in pieces of 1 MB", most=False),
    ]


def _time(text: str, names: list[str]) -> float:
    begun = time.perf_counter()
    with suppress(UserError):
        parse(text, COMMANDS, lambda of: names)
    return time.perf_counter() - begun
