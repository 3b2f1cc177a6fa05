"""The ledger in a database, SQLite or PostgreSQL: GPU-seconds by day, owner and model."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import structlog
from sqlalchemy import (
    Column,
    Date,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    create_engine,
    func,
    select,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from bot.core.usage.records import UsageEvent, UsageKind, Use

Values = Mapping[str, Any]
METADATA = MetaData()
GPU_TIME = Table(
    "gpu_time",
    METADATA,
    Column("day", Date, primary_key=True),
    Column("owner", String(100), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("seconds", Float, nullable=False),
    Column("idle", Float, nullable=False),
    Column("name", String(100), nullable=False),
)
EVENTS = Table(
    "event",
    METADATA,
    Column("day", Date, primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("about", String(200), primary_key=True),
    Column("amount", Float, nullable=False),
    Column("times", Integer, nullable=False),
)

log = structlog.get_logger()


class Ledger:
    """Each call in a thread, so that a slow database delays nobody; one that is away loses what came
    meanwhile, with a line in the log."""

    def __init__(self, url: str) -> None:
        alone = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        self._engine = create_engine(url, **(alone if url.startswith("sqlite") else {"pool_pre_ping": True}))
        self._made = False
        self._turn = asyncio.Lock()

    async def add(self, day: date, uses: Sequence[Use], events: Sequence[UsageEvent] = ()) -> None:
        """Add to what the day has."""
        await self._do(lambda connection: _add(connection, day, uses, events))

    async def used(self, since: date) -> Mapping[str, float]:
        """GPU-seconds of each owner from that day on."""
        query = select(GPU_TIME.c.owner, func.sum(GPU_TIME.c.seconds)).where(GPU_TIME.c.day >= since)
        found = await self._do(lambda connection: connection.execute(query.group_by(GPU_TIME.c.owner)).all())
        return {owner: float(seconds) for owner, seconds in found or []}

    async def uses(self, since: date) -> Sequence[tuple[date, Use]]:
        """All of it from that day on."""
        found = await self._do(lambda c: c.execute(select(GPU_TIME).where(GPU_TIME.c.day >= since)).all())
        return [(day, Use(owner, model, s, idle, name)) for day, owner, model, s, idle, name in found or []]

    async def events(self, since: date) -> Sequence[tuple[date, UsageEvent]]:
        """The same of what else happened."""
        found = await self._do(lambda c: c.execute(select(EVENTS).where(EVENTS.c.day >= since)).all())
        return [(row[0], UsageEvent(UsageKind(row[1]), *row[2:])) for row in found or []]

    async def _do(self, work: Callable[[Connection], Any]) -> Any:
        """In one transaction; None if the database does not do it."""
        async with self._turn:
            try:
                return await asyncio.to_thread(self._transact, work)
            except SQLAlchemyError as error:
                log.warning("ledger", why=type(error).__name__)
                return None

    def _transact(self, work: Callable[[Connection], Any]) -> Any:
        with self._engine.begin() as connection:
            if not self._made:
                METADATA.create_all(connection)
                self._made = True
            return work(connection)


def _add(connection: Connection, day: date, uses: Sequence[Use], events: Sequence[UsageEvent]) -> None:
    for use in uses:
        who = {"day": day, "owner": use.owner, "model": use.model}
        _increase(connection, GPU_TIME, who, {"seconds": use.seconds, "idle": use.idle}, {"name": use.name})
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
