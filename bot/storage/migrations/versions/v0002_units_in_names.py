"""Columns that say what they count: `seconds` were GPU-seconds, and `name` was the owner's."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Rename them; rows stay as they are."""
    op.alter_column("gpu_time", "seconds", new_column_name="gpu_seconds")
    op.alter_column("gpu_time", "idle", new_column_name="idle_gpu_seconds")
    op.alter_column("gpu_time", "name", new_column_name="owner_name")
