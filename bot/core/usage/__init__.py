"""Who used how much: the ledger's records, and reports from them."""
