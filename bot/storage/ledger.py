"""The ledger in a database, SQLite or PostgreSQL: GPU-seconds by day, owner and model."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from typing import Any

import structlog
from sqlalchemy import Table, and_, create_engine, func, select, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.event import listens_for
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from bot.core.chat.text import Text, t
from bot.core.usage.records import GpuUse, UsageEvent, UsageKind
from bot.storage.schema import NEWEST, NewerSchemaError, prepare
from bot.storage.tables import EVENTS, GPU_TIME

PATIENCE = 30.0
"""Seconds that a call may take, including those before it."""
CONNECT_SECONDS = 5
"""Seconds in which PostgreSQL must accept a connection."""
STATEMENT_SECONDS = 10
"""Seconds that PostgreSQL may take for one statement, including its wait for locks."""

Values = Mapping[str, Any]

log = structlog.get_logger()


class SqlLedger:
    """The ledger in the database of an SQLAlchemy URL. All calls run in one thread, one after the other, so
    that a slow database delays nobody for more than `patience` seconds. What is added while the database
    cannot be reached, or takes longer, may be lost, with a line in the log.

    The first call makes the tables or migrates them. Tables that a newer version of the bot has written are
    left alone: nothing is read from them. `problem` says that, or that the database failed. After a failure
    the file of SQLite is opened anew: it may have been removed or replaced, and a connection would go on
    with what nobody else sees."""

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self._engine, self._patience = _engine(url), patience
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._newer = ""
        self._away = False

    @property
    def problem(self) -> Text | None:
        """Why the last call neither wrote nor read anything: a newer version wrote the tables, or the
        database failed. None: it did."""
        if self._newer:
            return t("ledger.newer", found=self._newer, known=NEWEST)
        return t("ledger.away") if self._away else None

    async def close(self) -> None:
        """Finish what is being written and close all connections. Call nothing after this."""
        with suppress(TimeoutError):
            await self._in_thread(self._engine.dispose)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def add(self, day: date, uses: Sequence[GpuUse], events: Sequence[UsageEvent] = ()) -> None:
        """Add to the records of a day."""
        await self._do(lambda connection: _add(connection, day, uses, events))

    async def used(self, since: date) -> Mapping[str, float]:
        """The GPU-seconds of each owner from that day on, by user id; empty if it cannot be read."""
        query = select(GPU_TIME.c.owner, func.sum(GPU_TIME.c.gpu_seconds)).where(GPU_TIME.c.day >= since)
        rows = await self._do(lambda connection: connection.execute(query.group_by(GPU_TIME.c.owner)).all())
        return {owner: float(seconds) for owner, seconds in rows or []}

    async def uses(self, since: date) -> Sequence[tuple[date, GpuUse]]:
        """All GPU time from that day on, with its day; empty if it cannot be read."""
        rows = await self._do(lambda c: c.execute(select(GPU_TIME).where(GPU_TIME.c.day >= since)).all())
        return [(day, GpuUse(owner, model, s, idle, name)) for day, owner, model, s, idle, name in rows or []]

    async def events(self, since: date) -> Sequence[tuple[date, UsageEvent]]:
        """All events from that day on, with their day; empty if it cannot be read."""
        rows = await self._do(lambda c: c.execute(select(EVENTS).where(EVENTS.c.day >= since)).all())
        return [(row[0], UsageEvent(UsageKind(row[1]), *row[2:])) for row in rows or []]

    async def _do(self, work: Callable[[Connection], Any]) -> Any:
        """Run `work` in one transaction and return what it returns; None if the database fails."""
        try:
            result = await self._in_thread(lambda: self._transact(work))
        except (SQLAlchemyError, TimeoutError) as error:
            log.warning("ledger.unavailable", why=type(error).__name__)
            self._away = True
            return None
        except NewerSchemaError as error:
            self._refuse(error.revision)
            return None
        self._newer, self._away = "", False
        return result

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the thread. TimeoutError after `patience` seconds: work that has begun then may still
        end, work that waits for its turn is dropped."""
        async with asyncio.timeout(self._patience):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _refuse(self, newer: str) -> None:
        if newer != self._newer:
            log.error("ledger.newer_schema", found=newer, known=NEWEST, what="nothing is read or written")
        self._newer = newer

    def _transact(self, work: Callable[[Connection], Any]) -> Any:
        try:
            with self._engine.begin() as connection:
                prepare(connection)  # each time: another version of the bot may have migrated them
                return work(connection)
        except DatabaseError:
            self._engine.dispose()
            raise


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 1000 * STATEMENT_SECONDS}
        engine = create_engine(url, pool_pre_ping=True, connect_args=limits)

        @listens_for(engine, "begin")
        def limit(connection: Connection) -> None:
            """For this transaction: a pooler such as PgBouncer refuses it as an option of the connection."""
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {1000 * STATEMENT_SECONDS}")

        return engine
    options = {
        "check_same_thread": False,
        "isolation_level": None,
    }  # so migrations run in transactions
    engine = create_engine(url, poolclass=StaticPool, connect_args=options)

    @listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        """Lock at the beginning: a second writer waits here, while later it would fail."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _add(connection: Connection, day: date, uses: Sequence[GpuUse], events: Sequence[UsageEvent]) -> None:
    for use in uses:
        key = {"day": day, "owner": use.owner, "model": use.model}
        held = {"gpu_seconds": use.gpu_seconds, "idle_gpu_seconds": use.idle_gpu_seconds}
        _increase(connection, GPU_TIME, key, held, {"owner_name": use.owner_name})
    for event in events:
        key = {"day": day, "kind": event.kind.value, "about": event.about}
        _increase(connection, EVENTS, key, {"amount": event.amount, "times": event.times}, {})


def _increase(
    connection: Connection, table: Table, key: Values, amounts: Mapping[str, float], other: Values
) -> None:
    """Add amounts to the row with that key, and set its other columns; insert the row if there is none."""
    same_key = and_(*(table.c[name] == value for name, value in key.items()))
    sums = {name: table.c[name] + value for name, value in amounts.items()}
    if not connection.execute(update(table).where(same_key).values(**sums, **other)).rowcount:
        connection.execute(table.insert().values(**key, **amounts, **other))
