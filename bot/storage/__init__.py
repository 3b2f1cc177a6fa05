"""The ledger in SQLite or PostgreSQL: its tables and their migrations."""
