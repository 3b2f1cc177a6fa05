"""The version of the tables in a database, and their migration to the one that this bot needs."""

from threading import Lock

from sqlalchemy import Column, MetaData, String, Table, func, inspect, select, text
from sqlalchemy.engine import Connection

KNOWN = ("0001", "0002")
"""The revisions in `migrations/versions`, the oldest first. Here as well, because Alembic itself (9 MiB) is
loaded only when there is something to migrate."""
NEWEST = KNOWN[-1]
VERSION_TABLE = "ledger_version"
"""Not Alembic's usual name: another program's tables, such as Open WebUI's, may be in the same database."""
_VERSION = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))
_POSTGRESQL_LOCK = 1_819_045_741
"""The key of the advisory lock during a migration: any number that never changes."""
_alembic = Lock()
"""Only one migration at a time: Alembic has one context for the whole process."""


class NewerSchemaError(Exception):
    """A newer version of the bot has migrated the tables to a `revision` that this one does not know."""

    def __init__(self, revision: str) -> None:
        super().__init__(revision)
        self.revision = revision


def prepare(connection: Connection) -> None:
    """Make the tables, or migrate them to the newest revision, in the connection's transaction.

    NewerSchemaError if a newer version of the bot has migrated them; then nothing changes."""
    if revision(connection) == NEWEST:
        return
    if connection.dialect.name == "postgresql":  # SQLite: a transaction has the whole database for itself
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # a large ledger takes its time
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
