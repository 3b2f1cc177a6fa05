"""Alembic runs this file: the steps go into the transaction of the connection that it was given."""

from alembic import context

from bot.storage.schema import VERSION_TABLE
from bot.storage.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
