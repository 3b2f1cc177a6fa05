"""The ledger: who used how many GPU-seconds, in SQLite or PostgreSQL."""
