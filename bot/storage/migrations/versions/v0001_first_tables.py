"""The tables as they were before they had versions: made where they are missing, else left as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "gpu_time",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("owner", sa.String(100), primary_key=True),
        sa.Column("model", sa.String(200), primary_key=True),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("idle", sa.Float, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "event",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("about", sa.String(200), primary_key=True),
        sa.Column("amount", sa.Float, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        if_not_exists=True,
    )
