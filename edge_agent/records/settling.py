"""What a receipt does to one sample."""

from __future__ import annotations

import sqlite3
from typing import Final, Literal, TypeAlias, get_args

from edge_agent.records.counters import Changes
from edge_agent.records.events import read_events, write_event
from edge_agent.records.identity import storable
from edge_agent.records.removal import OutboxRow, id_bytes, outbox_row, set_aside, take_out
from sync_protocol.messages import Outcome, Settlement

Effect: TypeAlias = Literal["removed", "set_aside", "late", "repeated", "unknown"]

_ARRIVED: Final = ("stored", "duplicate")
_REFUSED: Final = ("rejected", "unsupported")
"""Base would not have it as it is; with other settings there, or a newer version, it may."""
_OUTCOMES: Final = frozenset(get_args(Outcome))


def settle_one(
    connection: sqlite3.Connection, settlement: Settlement, changes: Changes, now: float
) -> Effect:
    """Let one sample leave the outbox, inside a transaction, and keep how it ended; what base
    refused is set aside."""
    outcome, detail = settlement.outcome, settlement.detail or None
    arrived = outcome in _ARRIVED
    row = outbox_row(connection, settlement.sample_id)
    if row is not None and outcome in _REFUSED:
        return _refused(connection, row, settlement, changes, now)
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
    changes.moved(survey_id, delivery, outcome, size)
    if arrived and not charged_before:
        connection.execute("UPDATE survey SET bytes = bytes + ? WHERE id = ?", (size, survey_id))
    if outcome == "stored":
        changes.add(survey_id, "payload_bytes_stored", size)
    return "late"


def tell_refused(connection: sqlite3.Connection, settlement: Settlement, now: float) -> None:
    """Keep an entry for the operator: one, where the same refusal comes again and again."""
    message = f"base refused samples ({_words(settlement)}); they are set aside"
    latest = read_events(connection, 1)
    if not latest or (latest[0].kind, latest[0].message) != ("refused", message):
        write_event(connection, "refused", message, now)


def _refused(
    connection: sqlite3.Connection,
    row: OutboxRow,
    settlement: Settlement,
    changes: Changes,
    now: float,
) -> Effect:
    if row.quarantined:
        return "repeated"
    set_aside(connection, row, _words(settlement), changes, now)
    changes.add(row.survey_id, f"refused:{settlement.outcome}")
    return "set_aside"


def _words(settlement: Settlement) -> str:
    detail = storable(settlement.detail)
    return f"{settlement.outcome}: {detail}" if detail else settlement.outcome
