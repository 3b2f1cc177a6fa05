"""The GPU time that people used: the records of the ledger, and reports from them."""
