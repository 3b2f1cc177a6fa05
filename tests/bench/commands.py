"""Parsing 10 kB of nonsense."""

import time
from contextlib import suppress

from bot import app
from bot.commands import COMMANDS
from bot.commands.parsing import parse
from bot.config import Settings
from bot.core.errors import UserError
from tests.bench import row

NONSENSE = [
    "x " * 5_000,
    '"' * 10_000,
    "deploy " + "--a " * 2_500,
    "deploy " + "'a " * 3_300,
    "deploy " + " ".join(f"k{n}=v" for n in range(1_400)),
    "ask " + "temp=1 " * 1_400,
    "deploy " + "x" * 9_990,
]


async def measure() -> list[dict]:
    """The slowest of some, each the best of five."""
    names = app.planner(Settings(_env_file=None)).catalog.names()
    slowest = max(min(_time(text, names) for _ in range(5)) for text in NONSENSE)
    return [row("parse 10 kB of nonsense, ms", slowest * 1000, 5, f"slowest of {len(NONSENSE)}")]


def _time(text: str, names: list[str]) -> float:
    begun = time.perf_counter()
    with suppress(UserError):
        parse(text, COMMANDS, lambda of: names)
    return time.perf_counter() - begun
