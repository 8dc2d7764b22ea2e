"""Counters: rows that change in the transaction of what they count."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final

DEVICE: Final = 0
"""Scope of what belongs to no survey."""


def add(connection: sqlite3.Connection, scope: int, amounts: Mapping[str, int]) -> None:
    """Add to counters of a scope (a survey's id, or `DEVICE`), inside a transaction."""
    connection.executemany(
        "INSERT INTO counter (scope, name, value) VALUES (?, ?, ?) "
        "ON CONFLICT (scope, name) DO UPDATE SET value = value + excluded.value",
        [(scope, name, amount) for name, amount in amounts.items() if amount],
    )


def advance(connection: sqlite3.Connection, name: str, steps: int = 1) -> int:
    """Move a device counter on, inside a transaction; its new value."""
    add(connection, DEVICE, {name: steps})
    return read_counter(connection, DEVICE, name)


def read_counter(connection: sqlite3.Connection, scope: int, name: str) -> int:
    """A counter's value, 0 where it was never written."""
    row = connection.execute(
        "SELECT value FROM counter WHERE scope = ? AND name = ?", (scope, name)
    ).fetchone()
    return int(row[0]) if row else 0


def write_counter(connection: sqlite3.Connection, scope: int, name: str, value: int) -> None:
    """Set a counter, inside a transaction."""
    connection.execute("INSERT OR REPLACE INTO counter VALUES (?, ?, ?)", (scope, name, value))


def read_scope(connection: sqlite3.Connection, scope: int) -> dict[str, int]:
    """All counters of a scope, by name."""
    rows = connection.execute(
        "SELECT name, value FROM counter WHERE scope = ? ORDER BY name", (scope,)
    )
    return {name: int(value) for name, value in rows}


class Changes:
    """Changes to counters, gathered through a transaction and written at its end."""

    def __init__(self) -> None:
        self._by_scope: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def add(self, scope: int, name: str, amount: int = 1) -> None:
        """Note a change."""
        self._by_scope[scope][name] += amount

    def moved(self, survey: int, before: str | None, after: str | None, size: int) -> None:
        """Note that the delivery of a kept tile changed; `size` is that of its pixels."""
        for delivery, step in ((before, -1), (after, 1)):
            if delivery is not None:
                self.add(survey, f"delivery:{delivery}", step)
            if delivery == "queued":
                self.add(survey, "payload_bytes_waiting", step * size)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write them all."""
        for scope, amounts in self._by_scope.items():
            add(connection, scope, amounts)
