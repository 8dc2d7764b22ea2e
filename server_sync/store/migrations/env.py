"""Alembic's entry: revisions run on the connection, and in the transaction, of `migrate`."""

from __future__ import annotations

from alembic import context

from server_sync.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
