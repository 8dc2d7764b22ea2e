"""What happened to the records themselves: damage, lack of room, quarantine."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

KEPT_EVENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One entry; `at` in seconds since 1970 by the device's clock."""

    at: float
    kind: str
    message: str


def write_event(connection: sqlite3.Connection, kind: str, message: str, now: float) -> None:
    """Keep an entry, inside a transaction; the oldest go beyond `KEPT_EVENTS`."""
    number = connection.execute(
        "INSERT INTO event (at, kind, message) VALUES (?, ?, ?)", (now, kind, message)
    ).lastrowid
    connection.execute("DELETE FROM event WHERE id <= ?", ((number or 0) - KEPT_EVENTS,))


def read_events(connection: sqlite3.Connection, limit: int) -> list[Event]:
    """The latest entries, newest first."""
    rows = connection.execute(
        "SELECT at, kind, message FROM event ORDER BY id DESC LIMIT ?", (limit,)
    )
    return [Event(*row) for row in rows]
