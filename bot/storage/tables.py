"""The ledger's tables as this version of the bot reads and writes them; `migrations` creates them."""

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
"""The GPU time of one person's deployments of one model on one day. `owner` is the person's user id,
`owner_name` what the person was called last; `idle_gpu_seconds` are the part of `gpu_seconds` in which the
model was ready and answered nothing."""
EVENTS = Table(
    "event",
    METADATA,
    Column("day", Date, primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("about", String(200), primary_key=True),
    Column("amount", Float, nullable=False),
    Column("times", Integer, nullable=False),
)
"""What else happened on one day, `times` times. `kind` is a `UsageKind`: it says what `about` names (a model
or a cause) and in which unit `amount`, the sum, is (GPU-seconds or seconds)."""
