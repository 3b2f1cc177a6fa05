"""The ledger in its databases."""
