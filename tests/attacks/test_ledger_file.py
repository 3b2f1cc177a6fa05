"""The file of the ledger, in the hands of somebody else: removed, replaced by nonsense, locked."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from bot.app import wiring
from bot.app.settings import Settings
from bot.core.chat.message import Message, User
from bot.core.chat.text import Say
from bot.core.usage.records import GpuUse
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from bot.storage.ledger import SqlLedger
from tests.conftest import THREAD, Chat, Clock

DAY, EVER = date(2030, 1, 1), date(2000, 1, 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest_asyncio.fixture
async def ledger(file: Path) -> AsyncIterator[SqlLedger]:
    """One that has written."""
    made = SqlLedger(f"sqlite:///{file}")
    await made.add(DAY, [GpuUse("ada", "m", 60)])
    yield made
    await made.close()


def junk(file: Path) -> None:
    file.write_bytes(b"junk" * 1000)


@pytest.mark.parametrize("damage", [Path.unlink, junk], ids=["removed", "nonsense"])
async def test_a_file_that_is_gone_for_a_while_is_used_again_without_a_restart(
    file: Path, ledger: SqlLedger, damage: Callable[[Path], None]
) -> None:
    before = file.read_bytes()
    damage(file)
    await ledger.add(DAY, [GpuUse("ada", "m", 1)])
    assert ledger.problem
    file.write_bytes(before)
    await ledger.add(DAY, [GpuUse("ada", "m", 5)])
    assert ledger.problem is None
    with closing(sqlite3.connect(file)) as anybody:  # not only for who has written it
        assert anybody.execute("SELECT sum(gpu_seconds) FROM gpu_time").fetchone() == (65,)


async def test_a_report_that_cannot_be_read_is_not_said_to_be_empty(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
    file: Path,
    say: Say,
) -> None:
    junk(file)
    chosen = settings.model_copy(update={"database_url": SecretStr(f"sqlite:///{file}")})
    bot = wiring.build(chosen, cluster, inference, Chat(), clock)
    for line in ("report", "usage"):
        asked = Message(line, User("grace", "grace"), THREAD)
        last = [reply async for reply in bot.dispatcher.handle(asked)][-1]
        assert last.text and "cannot reach the ledger" in say(last.text), line
    await bot.close()
