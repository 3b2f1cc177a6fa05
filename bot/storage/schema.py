"""Which version the tables of a database have, and how they get the one that this bot needs."""

from threading import Lock

from sqlalchemy import Column, MetaData, String, Table, func, inspect, select
from sqlalchemy.engine import Connection

KNOWN = ("0001", "0002")
"""The revisions in `migrations/versions`, the oldest first. Here as well, because Alembic itself (9 MiB) is
loaded only when there is something to migrate."""
NEWEST = KNOWN[-1]
VERSION_TABLE = "ledger_version"
"""Not Alembic's usual name: another program's tables, such as Open WebUI's, may be in the same database."""
_VERSION = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))
_POSTGRESQL_LOCK = 1_819_045_741
"""The key of the advisory lock that whoever migrates holds; any number that is always the same."""
_alembic = Lock()
"""Alembic's context is one for the whole process."""


class NewerSchemaError(Exception):
    """The tables have a `revision` that this version of the bot does not know."""

    def __init__(self, revision: str) -> None:
        super().__init__(revision)
        self.revision = revision


def prepare(connection: Connection) -> None:
    """Bring the tables to the newest revision, or make them, within the connection's transaction.

    NewerSchemaError if a newer version of the bot has written them: then nothing is changed."""
    if revision(connection) == NEWEST:
        return
    if connection.dialect.name == "postgresql":  # SQLite: a transaction has the whole database for itself
        connection.execute(select(func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
    found = revision(connection)  # by now another process may have done it
    if found and found not in KNOWN:
        raise NewerSchemaError(found)
    if found != NEWEST:
        with _alembic:
            _upgrade(connection)


def revision(connection: Connection) -> str:
    """The revision of the tables; empty if there are none, or if they are older than revisions."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return ""
    return connection.execute(select(_VERSION.c.version_num)).scalar() or ""


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "bot.storage:migrations")
    command.upgrade(config, NEWEST)
