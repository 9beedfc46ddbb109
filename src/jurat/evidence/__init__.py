"""The spine: estimates, receipts, the ledger."""
