"""A sample leaves the outbox, and what that changes elsewhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edge_agent.records.counters import DEVICE, Changes
from edge_agent.records.values import Delivery

_COLUMNS: Final = "tile_id, sample_id, survey_id, priority, size, started, quarantined"


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """The columns of an outbox row that decide about it."""

    tile_id: int
    sample_id: bytes
    survey_id: int
    priority: float
    size: int
    started: int
    quarantined: int

    @property
    def delivery(self) -> Delivery:
        """How the ledger calls its state."""
        return "quarantined" if self.quarantined else "queued"


def outbox_rows(
    connection: sqlite3.Connection, condition: str, values: tuple[object, ...]
) -> Iterator[OutboxRow]:
    """Rows by an SQL condition (ours, never from outside)."""
    query = f"SELECT {_COLUMNS} FROM outbox WHERE {condition}"  # noqa: S608
    for row in connection.execute(query, values):
        yield OutboxRow(*row)


def outbox_row(connection: sqlite3.Connection, sample_id: str) -> OutboxRow | None:
    """The row of a sample, None if it is not in the outbox."""
    condition = "tile_id = (SELECT id FROM tile WHERE sample_id = ?)"
    return next(outbox_rows(connection, condition, (id_bytes(sample_id),)), None)


def take_out(
    connection: sqlite3.Connection,
    row: OutboxRow,
    delivery: Delivery,
    changes: Changes,
    now: float,
    *,
    detail: str | None = None,
    charged: bool | None = None,
) -> None:
    """Delete a row and its pixels; the ledger keeps what became of it.

    `charged`: its bytes go on counting against the survey's cap; by default if sending has begun.
    """
    charge = bool(row.started) if charged is None else charged
    connection.execute("DELETE FROM outbox WHERE tile_id = ?", (row.tile_id,))
    connection.execute(
        "UPDATE tile SET delivery = ?, delivery_detail = ?, delivery_at = ?, charged = ?"
        " WHERE id = ?",
        (delivery, detail, now, 1 if charge else None, row.tile_id),
    )
    if not charge:
        connection.execute(
            "UPDATE survey SET bytes = bytes - ? WHERE id = ?", (row.size, row.survey_id)
        )
    changes.moved(row.survey_id, row.delivery, delivery, row.size)
    changes.add(DEVICE, "outbox_rows", -1)
    changes.add(DEVICE, "outbox_bytes", -row.size)


def set_aside(
    connection: sqlite3.Connection, row: OutboxRow, detail: str, changes: Changes, now: float
) -> None:
    """Keep a waiting row and its pixels, but offer it no more until an operator says so."""
    connection.execute("UPDATE outbox SET quarantined = 1 WHERE tile_id = ?", (row.tile_id,))
    connection.execute(
        "UPDATE tile SET delivery = 'quarantined', delivery_detail = ?, delivery_at = ?"
        " WHERE id = ?",
        (detail, now, row.tile_id),
    )
    changes.moved(row.survey_id, row.delivery, "quarantined", row.size)


def id_bytes(sample_id: str) -> bytes:
    """The 16 bytes of an id in hex; empty, and so found nowhere, where it is none."""
    try:
        return bytes.fromhex(sample_id)
    except ValueError:
        return b""
