"""The ledger in a database, SQLite or PostgreSQL: GPU-seconds by day, owner and model."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import structlog
from sqlalchemy import Column, Date, Float, MetaData, String, Table, create_engine, func, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from bot.core.measures import Use

METADATA = MetaData()
GPU_TIME = Table(
    "gpu_time",
    METADATA,
    Column("day", Date, primary_key=True),
    Column("owner", String(100), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("seconds", Float, nullable=False),
    Column("idle", Float, nullable=False),
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

    async def add(self, day: date, uses: Sequence[Use]) -> None:
        """Add to what the day has."""
        await self._do(lambda connection: _add(connection, day, uses))

    async def used(self, since: date) -> Mapping[str, float]:
        """GPU-seconds of each owner from that day on."""
        query = select(GPU_TIME.c.owner, func.sum(GPU_TIME.c.seconds)).where(GPU_TIME.c.day >= since)
        found = await self._do(lambda connection: connection.execute(query.group_by(GPU_TIME.c.owner)).all())
        return {owner: float(seconds) for owner, seconds in found or []}

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


def _add(connection: Connection, day: date, uses: Sequence[Use]) -> None:
    columns = GPU_TIME.c
    for use in uses:
        here = (columns.day == day) & (columns.owner == use.owner) & (columns.model == use.model)
        more = {"seconds": columns.seconds + use.seconds, "idle": columns.idle + use.idle}
        if not connection.execute(update(GPU_TIME).where(here).values(more)).rowcount:
            row = {"day": day, "owner": use.owner, "model": use.model}
            connection.execute(GPU_TIME.insert().values(**row, seconds=use.seconds, idle=use.idle))
