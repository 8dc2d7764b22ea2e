"""Ledger and outbox: one SQLite file, the only thing between the filter and the sync daemon."""
