"""The ledger of who used how many GPU-seconds, in SQLite or PostgreSQL, and how its tables change."""
