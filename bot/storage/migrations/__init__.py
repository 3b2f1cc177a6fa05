"""How the ledger's tables came to be what they are, for Alembic: a file in `versions` for each step.

A new step also goes into `KNOWN` of `bot/storage/schema.py`, and into `bot/storage/tables.py`."""
