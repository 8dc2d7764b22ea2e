"""What a receipt does to one sample."""

from __future__ import annotations

import sqlite3
from typing import Final, Literal, TypeAlias, get_args

from edge_agent.records.counters import Changes
from edge_agent.records.removal import id_bytes, outbox_row, take_out
from sync_protocol.messages import Outcome, Settlement

Effect: TypeAlias = Literal["removed", "late", "repeated", "unknown"]

_ARRIVED: Final = ("stored", "duplicate")
_OUTCOMES: Final = frozenset(get_args(Outcome))


def settle_one(
    connection: sqlite3.Connection, settlement: Settlement, changes: Changes, now: float
) -> Effect:
    """Let one sample leave the outbox, inside a transaction, and keep how it ended."""
    outcome, detail = settlement.outcome, settlement.detail or None
    arrived = outcome in _ARRIVED
    row = outbox_row(connection, settlement.sample_id)
    if row is not None:
        charged = arrived or bool(row.started)
        take_out(connection, row, outcome, changes, now, detail=detail, charged=charged)
        if outcome == "stored":
            changes.add(row.survey_id, "payload_bytes_stored", row.size)
        return "removed"
    tile = connection.execute(
        "SELECT tile.id, tile.delivery, tile.payload_size, tile.charged, run.survey_id FROM tile"
        " JOIN run ON run.id = tile.run_id WHERE tile.sample_id = ?",
        (id_bytes(settlement.sample_id),),
    ).fetchone()
    if tile is None:
        return "unknown"
    tile_id, delivery, size, charged_before, survey_id = tile
    if delivery in _OUTCOMES:
        return "repeated"
    # Given up on the device while it was under way: base's word is how it really ended.
    connection.execute(
        "UPDATE tile SET delivery = ?, delivery_detail = ?, delivery_at = ?, charged = ?"
        " WHERE id = ?",
        (outcome, detail, now, 1 if arrived else charged_before, tile_id),
    )
    changes.moved(survey_id, delivery, outcome)
    if arrived and not charged_before:
        connection.execute("UPDATE survey SET bytes = bytes + ? WHERE id = ?", (size, survey_id))
    if outcome == "stored":
        changes.add(survey_id, "payload_bytes_stored", size)
    return "late"
