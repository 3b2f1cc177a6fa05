"""The ledger's tables as this version reads and writes them; `migrations` makes them."""

from sqlalchemy import Column, Date, Float, Integer, MetaData, String, Table

METADATA = MetaData()
GPU_TIME = Table(
    "gpu_time",
    METADATA,
    Column("day", Date, primary_key=True),
    Column("owner", String(100), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("gpu_seconds", Float, nullable=False),
    Column("idle_gpu_seconds", Float, nullable=False),
    Column("owner_name", String(100), nullable=False),
)
"""What the deployments of a model that one person owns held on one day. `owner` is a person's id, and
`owner_name` what that person was called last; `idle_gpu_seconds` are the part of `gpu_seconds` in which
nothing ran."""
EVENTS = Table(
    "event",
    METADATA,
    Column("day", Date, primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("about", String(200), primary_key=True),
    Column("amount", Float, nullable=False),
    Column("times", Integer, nullable=False),
)
"""What else happened on one day: `times` times, `amount` in all. `kind` says what `about` names (a model, a
cause) and the unit of `amount` (GPU-seconds or seconds)."""
