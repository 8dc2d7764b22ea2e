"""Counts kept in the same transaction as what they count."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, insert, select, update

from server_sync.store.schema import counters


def add(connection: Connection, counts: Mapping[str, int]) -> None:
    """Raise counters; rows in one order, so that two workers never wait for each other."""
    for name, count in sorted(counts.items()):
        raised = update(counters).where(counters.c.name == name)
        done = connection.execute(raised.values(value=counters.c.value + count))
        if done.rowcount == 0:
            connection.execute(insert(counters).values(name=name, value=count))


def read(connection: Connection) -> dict[str, int]:
    """All counters by name."""
    rows = connection.execute(select(counters.c.name, counters.c.value).order_by(counters.c.name))
    return {row.name: row.value for row in rows}
