"""What can still be read of a damaged file: samples that wait, and the memory of those kept.

A table is read from its first row on until the damage, then from its last row backwards. A sample
comes along only with pixels that match their checksum. Frames come along as if none of their tiles
had been judged: the filter judges them again, and finds the salvaged tiles recorded.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from edge_agent.records.counters import DEVICE, Changes
from edge_agent.records.facts import decode_facts
from edge_agent.records.rotation import row_cost
from sync_protocol.messages import SampleDescription

Row = dict[str, Any]

UNREADABLE: Final = (
    sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError, LookupError, OverflowError
)  # fmt: skip
"""What damaged rows may raise."""

_IN_OUTBOX: Final = ("queued", "quarantined")
_AS_NEW: Final = {"state": "open", "tiles_done": 0, "tries": 0, "reason": None, "message": None}
_decoder: Final = msgspec.msgpack.Decoder(SampleDescription)


def salvage(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    """Copy what is intact into a new, empty database, inside a transaction; samples that wait.

    Raises:
        one of `UNREADABLE`: too little of the old file makes sense.
    """
    changes = Changes()
    words = {row["id"]: row["text"] for row in _copied(old, new, "word", {}, {})}
    surveys = {row["id"] for row in _copied(old, new, "survey", {}, {"bytes": 0})}
    of_survey = {"survey_id": surveys}
    runs = {row["id"]: row["survey_id"] for row in _copied(old, new, "run", of_survey, {})}
    frames = {row["id"]: row["survey_id"] for row in _copied(old, new, "frame", of_survey, _AS_NEW)}
    for survey_id in frames.values():
        changes.add(survey_id, "frames_begun")
    known = {"frame_id": frames, "run_id": runs, "reason": words}
    for tile in _rows(old, "tile"):
        if tile["kept"] == 1 and _fits(tile, known):
            _bring(old, new, tile, runs[tile["run_id"]], words, changes)
    changes.write(new)
    (waiting,) = new.execute("SELECT count(*) FROM outbox").fetchone()
    return int(waiting)


def _bring(
    old: sqlite3.Connection,
    new: sqlite3.Connection,
    tile: Row,
    survey_id: int,
    words: Mapping[int, str],
    changes: Changes,
) -> None:
    """One kept tile, with its sample if that waits; nothing of it where a part is damaged."""
    waits = tile["delivery"] in _IN_OUTBOX
    try:
        decode_facts(tile["facts"], words.__getitem__)
        parts = _intact(old, tile["id"]) if waits else ()
    except UNREADABLE:
        return
    if not _insert(new, "tile", tile):
        return
    for table, row in parts:
        _insert(new, table, row)
    size = tile["payload_size"]
    if waits:
        changes.add(DEVICE, "outbox_rows")
        changes.add(DEVICE, "outbox_bytes", size)
    if waits or tile["charged"]:
        new.execute("UPDATE survey SET bytes = bytes + ? WHERE id = ?", (size, survey_id))
    if tile["delivery"] == "stored":
        changes.add(survey_id, "payload_bytes_stored", size)
    changes.add(DEVICE, "ledger_bytes", row_cost(tile["facts"]))
    changes.add(survey_id, "payload_bytes_kept", size)
    for name in ("tiles_seen", "tiles_kept", f"kept:{words[tile['reason']]}"):
        changes.add(survey_id, name)
    changes.moved(survey_id, None, tile["delivery"], size)


def _intact(old: sqlite3.Connection, tile_id: int) -> tuple[tuple[str, Row], ...]:
    """Rows of the outbox and of the pixels; ValueError where they do not fit together."""
    row = _one(old, "outbox", tile_id)
    pixels = _one(old, "payload", tile_id)
    description = _decoder.decode(row["description"])
    if (
        hashlib.sha256(pixels["data"]).digest() != description.payload_sha256
        or bytes.fromhex(description.sample_id) != row["sample_id"]
        or row["size"] != len(pixels["data"])
    ):
        raise ValueError("damaged")
    return ("outbox", row), ("payload", pixels)


def _one(connection: sqlite3.Connection, table: str, tile_id: int) -> Row:
    query = f"SELECT * FROM {table} WHERE tile_id = ?"  # noqa: S608 - our table names
    for row in _dicts(connection.execute(query, (tile_id,))):
        return row
    raise LookupError(table)


def _copied(
    old: sqlite3.Connection,
    new: sqlite3.Connection,
    table: str,
    known: Mapping[str, Any],
    changed: Row,
) -> Iterator[Row]:
    """Rows as copied, those left out that belong to nothing known."""
    for row in _rows(old, table):
        if _fits(row, known) and _insert(new, table, row | changed):
            yield row


def _fits(row: Row, known: Mapping[str, Any]) -> bool:
    return all(row[column] in values for column, values in known.items())


def _insert(new: sqlite3.Connection, table: str, row: Row) -> bool:
    places = ", ".join("?" * len(row))
    query = f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({places})"  # noqa: S608
    return new.execute(query, tuple(row.values())).rowcount == 1


def _rows(old: sqlite3.Connection, table: str) -> Iterator[Row]:
    """All rows that can be reached from either end; the first column is the key."""
    reached: int | None = None
    try:
        for row in _dicts(old.execute(f"SELECT * FROM {table} ORDER BY rowid")):  # noqa: S608
            reached = next(iter(row.values()))
            yield row
    except sqlite3.DatabaseError:
        try:
            backwards = old.execute(f"SELECT * FROM {table} ORDER BY rowid DESC")  # noqa: S608
            for row in _dicts(backwards):
                if reached is not None and next(iter(row.values())) <= reached:
                    return
                yield row
        except sqlite3.DatabaseError:
            return


def _dicts(cursor: sqlite3.Cursor) -> Iterator[Row]:
    names = [column[0] for column in cursor.description]
    for values in cursor:
        yield dict(zip(names, values, strict=True))
