"""What was used, in a database: the same on SQLite and on PostgreSQL, and across versions of the bot."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.chat.message import Message, User
from bot.core.usage.records import GpuUse, UsageEvent, UsageKind
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from bot.storage.ledger import CONNECT_SECONDS, STATEMENT_SECONDS, SqlLedger
from bot.storage.schema import KNOWN, NEWEST, VERSION_TABLE, revision
from bot.storage.tables import METADATA
from tests.conftest import THREAD, Ask, Chat, Clock, PassTime, Say, eventually
from tests.real.missing import without_part
from tests.real.postgres import Postgres

DAY, EVER = date(2030, 1, 1), date(2000, 1, 1)
V1 = Path(__file__).parents[1] / "fixtures" / "v1"
LedgerAt = Callable[[str], SqlLedger]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL of our own, where it is installed."""
    if (binaries := Postgres.installed()) is None:
        without_part("PostgreSQL is not installed")
    with Postgres(binaries) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.database()


@pytest_asyncio.fixture
async def ledger_at() -> AsyncIterator[LedgerAt]:
    """Opens ledgers, and closes them in the end."""
    opened: list[SqlLedger] = []

    def at(url: str) -> SqlLedger:
        opened.append(SqlLedger(url))
        return opened[-1]

    yield at
    for ledger in opened:
        await ledger.close()


def written_by_v1(url: str) -> None:
    """The rows of the fixture, in tables as that version made them."""
    with sqlite3.connect(V1 / "ledger.sqlite") as source:
        statements = list(source.iterdump())
    source.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            if statement.startswith(("CREATE", "INSERT")):
                connection.exec_driver_sql(statement)
    engine.dispose()


def sql(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(url)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


async def test_it_adds_up_by_day_owner_and_model_and_is_there_after_a_restart(
    url: str, ledger_at: LedgerAt
) -> None:
    ledger = ledger_at(url)
    await ledger.add(DAY, [GpuUse("ada", "m", 60, 10), GpuUse("bob", "m", 30)])
    await ledger.add(DAY, [GpuUse("ada", "m", 60), GpuUse("ada", "n", 5)])
    await ledger.add(DAY + timedelta(days=1), [GpuUse("bob", "m", 1)])
    assert await ledger_at(url).used(DAY) == {"ada": 125, "bob": 31}
    assert await ledger_at(url).used(DAY + timedelta(days=1)) == {"bob": 1}


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.sqlite", "postgresql+psycopg://u:secret@127.0.0.1:9/x"]
)
async def test_a_database_that_is_away_is_no_trouble(
    url: str, ledger_at: LedgerAt, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = ledger_at(url)
    await ledger.add(DAY, [GpuUse("ada", "m", 60)])
    assert await ledger.used(DAY) == {}
    out = capsys.readouterr().out
    assert "ledger.unavailable" in out and "secret" not in out


@pytest_asyncio.fixture
async def silent() -> AsyncIterator[str]:
    """The address of a server that takes every connection, and says nothing."""
    over = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    yield f"postgresql+psycopg://u:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    over.set()
    server.close()


async def test_a_database_that_takes_connections_and_is_silent_is_given_up(
    silent: str, ledger_at: Callable[[str], SqlLedger], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = ledger_at(silent)
    async with asyncio.timeout(2 * CONNECT_SECONDS):
        assert await ledger.used(DAY) == {}
    assert "ledger.unavailable" in capsys.readouterr().out


async def test_a_database_that_is_silent_delays_no_sweep(
    silent: str,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
) -> None:
    told = settings.model_copy(update={"database_url": SecretStr(silent)})
    built = wiring.build(told, cluster, inference, chat, clock)
    async for _ in built.dispatcher.handle(Message("deploy tinyllama", User("ada", "ada"), THREAD)):
        pass
    await cluster.update_record("tinyllama", lease_ends_at=clock.now())
    sweeping = asyncio.create_task(built.sweep())
    await eventually(lambda: not cluster.workloads()[0].replicas)
    assert not sweeping.done(), "it is written down at the end"
    await sweeping
    await built.close()


async def test_whoever_asks_a_database_that_is_busy_waits_no_longer_than_they_like(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    ledger = SqlLedger(f"sqlite:///{file}?timeout=600", patience=0.5)
    await ledger.add(DAY, [GpuUse("ada", "m", 60)])
    with closing(sqlite3.connect(file, isolation_level=None)) as busy:
        busy.execute("begin immediate")
        for _ in range(2):
            assert await ledger.used(DAY) == {}
        busy.execute("rollback")
    found: Mapping[str, float] = {}
    while not found:
        found = await ledger.used(DAY)
    assert found == {"ada": 60}
    await ledger.close()


async def test_a_statement_that_waits_for_a_lock_ends_by_itself(postgres: Postgres) -> None:
    url = postgres.database()
    ledger = SqlLedger(url)
    await ledger.add(DAY, [GpuUse("ada", "m", 60)])
    engine = create_engine(url)
    with engine.connect() as busy:
        busy.execute(text("lock table gpu_time"))
        async with asyncio.timeout(2 * STATEMENT_SECONDS):
            assert await ledger.used(DAY) == {}
    engine.dispose()
    assert await ledger.used(DAY) == {"ada": 60}
    await ledger.close()


async def test_a_closed_ledger_lets_go_of_its_database(url: str) -> None:
    ledger = SqlLedger(url)
    await ledger.add(DAY, [GpuUse("ada", "m", 60)])
    writing = asyncio.create_task(ledger.add(DAY, [GpuUse("ada", "m", 60)]))
    await asyncio.sleep(0)
    await ledger.close()
    await writing
    assert sql(url, "select gpu_seconds from gpu_time") == [(120.0,)]
    if url.startswith("postgresql"):
        others = "select count(*) from pg_stat_activity where datname = current_database()"
        assert sql(url, others) == [(1,)]


async def test_what_the_first_version_wrote_is_read_and_goes_on(url: str, ledger_at: LedgerAt) -> None:
    written_by_v1(url)
    ledger, expected = ledger_at(url), json.loads((V1 / "ledger.json").read_text(encoding="utf-8"))
    uses = sorted(
        [d.isoformat(), u.owner, u.model, u.gpu_seconds, u.idle_gpu_seconds, u.owner_name]
        for d, u in await ledger.uses(EVER)
    )
    events = sorted([d.isoformat(), e.kind, e.about, e.amount, e.times] for d, e in await ledger.events(EVER))
    assert (uses, events) == (sorted(expected["uses"]), sorted(expected["events"]))
    assert sql(url, f"select version_num from {VERSION_TABLE}") == [(NEWEST,)]
    day = date(2026, 11, 7)
    await ledger.add(
        day,
        [GpuUse("slack:U0ADA", "llama-3-8b", 5, 5, "Ada")],
        [UsageEvent(UsageKind.WAITED, "qwen2.5-7b", 1)],
    )
    assert await ledger.uses(day) == [(day, GpuUse("slack:U0ADA", "llama-3-8b", 15, 5, "Ada"))]
    assert await ledger.events(day) == [(day, UsageEvent(UsageKind.WAITED, "qwen2.5-7b", 16.5, 3))]


async def test_a_table_that_a_crash_left_out_is_made(tmp_path: Path, ledger_at: LedgerAt) -> None:
    file = tmp_path / "ledger.sqlite"
    shutil.copy(V1 / "ledger.sqlite", file)
    sql(f"sqlite:///{file}", "drop table event")
    ledger = ledger_at(f"sqlite:///{file}")
    await ledger.add(DAY, [], [UsageEvent(UsageKind.FAILED, "cuda_oom")])
    assert await ledger.events(DAY) == [(DAY, UsageEvent(UsageKind.FAILED, "cuda_oom"))]
    assert (await ledger.used(EVER))["slack:U0ADA"] == 14470


async def test_a_migration_that_breaks_off_leaves_everything_as_it_was(url: str, ledger_at: LedgerAt) -> None:
    """Here because one of the new names is taken already, after another one was given."""
    written_by_v1(url)
    sql(url, "alter table gpu_time add column owner_name varchar(100)")
    ledger = ledger_at(url)
    assert await ledger.used(EVER) == {}
    assert sql(url, "select sum(seconds) from gpu_time") == [(19304.75,)]
    sql(url, "alter table gpu_time drop column owner_name")
    assert sum((await ledger.used(EVER)).values()) == 19304.75


async def test_what_a_newer_version_wrote_is_left_alone_and_people_can_know(
    url: str, ledger_at: LedgerAt, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = ledger_at(url)
    await ledger.add(DAY, [GpuUse("ada", "m", 60)], [UsageEvent(UsageKind.FAILED, "cuda_oom")])
    assert ledger.problem is None
    sql(url, f"update {VERSION_TABLE} set version_num = '0009'")  # as by a newer one, while this one runs
    for at in (ledger, ledger_at(url)):
        capsys.readouterr()
        await at.add(DAY, [GpuUse("ada", "m", 1)])
        assert (await at.used(EVER), await at.uses(EVER), await at.events(EVER)) == ({}, [], [])
        assert capsys.readouterr().out.count("ledger.newer_schema") == 1
        assert at.problem is not None and "0009" in say(at.problem)
    assert sql(url, "select gpu_seconds from gpu_time") == [(60.0,)]
    sql(url, f"update {VERSION_TABLE} set version_num = '{NEWEST}'")
    assert (await ledger.used(EVER), ledger.problem) == ({"ada": 60}, None)


@pytest.mark.parametrize("old", [False, True], ids=["new", "first version"])
async def test_several_that_start_at_once_make_or_migrate_the_tables_once(
    url: str, ledger_at: LedgerAt, old: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if old:
        written_by_v1(url)
    ledgers = [ledger_at(url) for _ in range(6)]
    await asyncio.gather(*(each.add(DAY, [GpuUse(f"p{n}", "m", n + 1)]) for n, each in enumerate(ledgers)))
    assert await ledgers[0].used(DAY) == {f"p{n}": n + 1 for n in range(6)}
    assert "ledger." not in capsys.readouterr().out
    assert sql(url, f"select version_num from {VERSION_TABLE}") == [(NEWEST,)]


async def test_ledgers_of_one_process_do_not_get_into_each_others_way(
    tmp_path: Path, ledger_at: LedgerAt, capsys: pytest.CaptureFixture[str]
) -> None:
    ledgers = [ledger_at(f"sqlite:///{tmp_path}/{n}.sqlite") for n in range(8)]
    await asyncio.gather(*(each.add(DAY, [GpuUse("ada", "m", n + 1)]) for n, each in enumerate(ledgers)))
    assert [await each.used(DAY) for each in ledgers] == [{"ada": n + 1} for n in range(8)]
    assert "ledger." not in capsys.readouterr().out


async def test_the_tables_are_those_that_the_code_reads_and_every_step_is_known(
    url: str, ledger_at: LedgerAt
) -> None:
    await ledger_at(url).used(DAY)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert revision(connection) == NEWEST
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()
    steps = ScriptDirectory(
        str(Path(__file__).parents[2] / "bot" / "storage" / "migrations")
    ).walk_revisions()
    assert tuple(step.revision for step in steps) == KNOWN[::-1]


async def test_the_line_goes_by_the_week_and_what_was_long_ago_is_forgotten(
    bot: App, ask: Ask, pass_time: PassTime, clock: Clock, cluster: SimulatedCluster
) -> None:
    await ask("deploy llama-3-8b tp=2", who="ada")
    await pass_time(300)
    for _ in range(60):
        clock.advance(minutes=1)
        cluster.step()
        await bot.sweep()
    used = bot.usage_recorder.used_last_week
    assert 2 * 25 * 60 <= used("ada") <= 2 * 60 * 60  # it slept after half an hour
    clock.advance(days=9)
    await ask("deploy tinyllama", who="bob")
    await pass_time(300)
    for _ in range(2):
        clock.advance(minutes=1)
        await bot.sweep()
    assert used("bob") > 0 and used("ada") == 0
