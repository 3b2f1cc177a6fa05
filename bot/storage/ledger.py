"""The ledger in a database, SQLite or PostgreSQL: GPU-seconds by day, owner and model."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import structlog
from sqlalchemy import Table, and_, create_engine, func, select, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.event import listens_for
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from bot.core.chat.text import Text, t
from bot.core.usage.records import GpuUse, UsageEvent, UsageKind
from bot.storage.schema import NEWEST, NewerSchemaError, prepare
from bot.storage.tables import EVENTS, GPU_TIME

Values = Mapping[str, Any]

log = structlog.get_logger()


class SqlLedger:
    """Calls go to a thread of its own, one after the other, so that a slow database delays nobody; one that
    is away loses what came meanwhile, with a line in the log.

    The first call makes the tables, or migrates them. Those that a newer version of the bot has written are
    left alone: `problem` says so then, and nothing is found in them."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._newer = ""

    @property
    def problem(self) -> Text | None:
        """What people should know of why nothing is written and read, as of the last call."""
        return t("ledger.newer", found=self._newer, known=NEWEST) if self._newer else None

    async def close(self) -> None:
        """End all connections, after what is being written. Nothing can be called after this."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown(wait=False)

    async def add(self, day: date, uses: Sequence[GpuUse], events: Sequence[UsageEvent] = ()) -> None:
        """Add to what the day has."""
        await self._do(lambda connection: _add(connection, day, uses, events))

    async def used(self, since: date) -> Mapping[str, float]:
        """GPU-seconds of each owner from that day on."""
        query = select(GPU_TIME.c.owner, func.sum(GPU_TIME.c.gpu_seconds)).where(GPU_TIME.c.day >= since)
        found = await self._do(lambda connection: connection.execute(query.group_by(GPU_TIME.c.owner)).all())
        return {owner: float(seconds) for owner, seconds in found or []}

    async def uses(self, since: date) -> Sequence[tuple[date, GpuUse]]:
        """All of it from that day on."""
        found = await self._do(lambda c: c.execute(select(GPU_TIME).where(GPU_TIME.c.day >= since)).all())
        return [
            (day, GpuUse(owner, model, s, idle, name)) for day, owner, model, s, idle, name in found or []
        ]

    async def events(self, since: date) -> Sequence[tuple[date, UsageEvent]]:
        """The same of what else happened."""
        found = await self._do(lambda c: c.execute(select(EVENTS).where(EVENTS.c.day >= since)).all())
        return [(row[0], UsageEvent(UsageKind(row[1]), *row[2:])) for row in found or []]

    async def _do(self, work: Callable[[Connection], Any]) -> Any:
        """In one transaction; None if the database does not do it."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)
        except SQLAlchemyError as error:
            log.warning("ledger.unavailable", why=type(error).__name__)
            return None
        except NewerSchemaError as error:
            self._refuse(error.revision)
            return None
        self._newer = ""
        return found

    def _refuse(self, newer: str) -> None:
        if newer != self._newer:
            log.error("ledger.newer_schema", found=newer, known=NEWEST, what="nothing is read or written")
        self._newer = newer

    def _transact(self, work: Callable[[Connection], Any]) -> Any:
        with self._engine.begin() as connection:
            prepare(connection)  # each time: another version of the bot may have begun meanwhile
            return work(connection)


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    options = {"check_same_thread": False, "isolation_level": None}  # else DDL would not be in transactions
    engine = create_engine(url, poolclass=StaticPool, connect_args=options)

    @listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        """Whoever comes second waits from the beginning, as he would fail in the middle."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _add(connection: Connection, day: date, uses: Sequence[GpuUse], events: Sequence[UsageEvent]) -> None:
    for use in uses:
        who = {"day": day, "owner": use.owner, "model": use.model}
        held = {"gpu_seconds": use.gpu_seconds, "idle_gpu_seconds": use.idle_gpu_seconds}
        _increase(connection, GPU_TIME, who, held, {"owner_name": use.owner_name})
    for event in events:
        what = {"day": day, "kind": event.kind.value, "about": event.about}
        _increase(connection, EVENTS, what, {"amount": event.amount, "times": event.times}, {})


def _increase(
    connection: Connection, table: Table, key: Values, more: Mapping[str, float], known: Values
) -> None:
    """Add to the row of that key, or make it."""
    here = and_(*(table.c[name] == value for name, value in key.items()))
    sums = {name: table.c[name] + value for name, value in more.items()}
    if not connection.execute(update(table).where(here).values(**sums, **known)).rowcount:
        connection.execute(table.insert().values(**key, **more, **known))
