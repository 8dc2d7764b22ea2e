"""What can still be read of a damaged file: samples that wait, and the memory of those kept.

A table is read from one end on until the damage, then from the other end. A sample comes along
only with pixels that match their checksum. Frames come along as if none of their tiles had been
judged: the filter judges them again, and finds the salvaged tiles recorded. Where there is no room
for all, the most valuable samples come first, and after the samples the latest kept tiles.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_agent.records.counters import DEVICE, Changes
from edge_agent.records.facts import decode_facts
from edge_agent.records.filling import Filling, Note, Piece, Row
from edge_agent.records.rotation import row_cost
from sync_protocol.messages import SampleDescription

UNREADABLE: Final = (
    sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError, LookupError, OverflowError
)  # fmt: skip
"""What damaged rows may raise when they are read."""

_IN_OUTBOX: Final = ("queued", "quarantined")
_AS_NEW: Final = {"state": "open", "tiles_done": 0, "tries": 0, "reason": None, "message": None}
_decoder: Final = msgspec.msgpack.Decoder(SampleDescription)


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What became of the samples that waited in the old file."""

    saved: int
    without_room: int
    """Whole, as far as was looked, but there was no room for them."""


def salvage(old: sqlite3.Connection, new: sqlite3.Connection, folder: Path) -> Salvaged:
    """Copy what is intact into a new database, in several transactions; may be done again.

    Args:
        folder: where the new database is; its disk is not filled to the last byte.

    Raises:
        sqlite3.Error: of the new file alone. Damage of the old one is left out.
    """
    filling = Filling(new, folder)
    filling.fill(_copied(old, "word", {}, {}, _nothing))
    filling.fill(_copied(old, "survey", {}, {"bytes": 0}, _nothing))
    of_survey = {"survey_id": _ids(new, "survey")}
    filling.fill(_copied(old, "run", of_survey, {}, _nothing))
    filling.fill(_frames(old, of_survey))
    tiles = _Tiles(old, new)
    waiting = _waiting(old)
    filling.fill(tiles.samples(waiting))
    filling.fill(tiles.others())
    filling.fill(_copied(old, "memory", {"frame_id": tiles.frames}, {}, _nothing))
    (saved,) = new.execute("SELECT count(*) FROM outbox").fetchone()
    lost = len(waiting) - saved - tiles.damaged
    return Salvaged(int(saved), max(lost, 0) if filling.full else 0)


class _Tiles:
    """Kept tiles of the old file that belong to what the new one knows."""

    def __init__(self, old: sqlite3.Connection, new: sqlite3.Connection) -> None:
        self._old = old
        self._words = dict(new.execute("SELECT id, text FROM word"))
        self._runs = dict(new.execute("SELECT id, survey_id FROM run"))
        self.frames = _ids(new, "frame")
        self.damaged = 0

    def samples(self, tile_ids: Iterable[int]) -> Iterator[Piece]:
        """Tiles with the samples that wait; nothing of one where a part is damaged."""
        for tile_id in tile_ids:
            try:
                tile = _one(self._old, "tile", "id", tile_id)
                if not self._makes_sense(tile) or tile["delivery"] not in _IN_OUTBOX:
                    raise ValueError("damaged")
                parts = _intact(self._old, tile_id)
            except UNREADABLE:
                self.damaged += 1
                continue
            yield Piece((("tile", tile), *parts), self._note(tile))

    def others(self) -> Iterator[Piece]:
        """Kept tiles that wait no more, the latest first."""
        for tile in _rows(self._old, "tile", latest_first=True):
            if tile.get("delivery") in _IN_OUTBOX:
                continue
            try:
                sound = self._makes_sense(tile)
            except UNREADABLE:
                continue
            if sound:
                yield Piece((("tile", tile),), self._note(tile))

    def _makes_sense(self, tile: Row) -> bool:
        """Raises one of `UNREADABLE` where its facts cannot be read."""
        known = {"frame_id": self.frames, "run_id": self._runs, "reason": self._words}
        decode_facts(tile["facts"], self._words.__getitem__)
        return tile["kept"] == 1 and isinstance(tile["payload_size"], int) and _fits(tile, known)

    def _note(self, tile: Row) -> Note:
        survey_id, reason = self._runs[tile["run_id"]], self._words[tile["reason"]]
        size, delivery = tile["payload_size"], tile["delivery"]

        def note(new: sqlite3.Connection, changes: Changes) -> None:
            if delivery in _IN_OUTBOX:
                changes.add(DEVICE, "outbox_rows")
                changes.add(DEVICE, "outbox_bytes", size)
            if delivery in _IN_OUTBOX or tile["charged"]:
                new.execute("UPDATE survey SET bytes = bytes + ? WHERE id = ?", (size, survey_id))
            if delivery == "stored":
                changes.add(survey_id, "payload_bytes_stored", size)
            changes.add(DEVICE, "ledger_bytes", row_cost(tile["facts"]))
            changes.add(survey_id, "payload_bytes_kept", size)
            for name in ("tiles_seen", "tiles_kept", f"kept:{reason}"):
                changes.add(survey_id, name)
            changes.moved(survey_id, None, delivery, size)

        return note


def _waiting(old: sqlite3.Connection) -> list[int]:
    """Tiles of the samples that wait, the most valuable first, those set aside last."""
    keys: dict[int, tuple[bool, float]] = {}
    for row in _rows(old, "outbox"):
        key, tile_id = row.get("priority"), row.get("tile_id")
        if isinstance(key, float) and isinstance(tile_id, int):
            keys[tile_id] = (row.get("quarantined") != 0, -key)
    for row in _rows(old, "tile"):  # of those the outbox can no longer name
        if row.get("delivery") in _IN_OUTBOX and isinstance(row.get("id"), int):
            keys.setdefault(row["id"], (True, 0.0))
    return sorted(keys, key=lambda tile_id: (keys[tile_id], tile_id))


def _frames(old: sqlite3.Connection, known: Mapping[str, Container[Any]]) -> Iterator[Piece]:
    for piece in _copied(old, "frame", known, _AS_NEW, _nothing):
        survey_id = piece.rows[0][1]["survey_id"]

        def begun(_: sqlite3.Connection, changes: Changes, survey_id: int = survey_id) -> None:
            changes.add(survey_id, "frames_begun")

        yield Piece(piece.rows, begun)


def _nothing(_new: sqlite3.Connection, _changes: Changes) -> None:
    """Nothing else changes."""


def _ids(new: sqlite3.Connection, table: str) -> frozenset[int]:
    return frozenset(number for (number,) in new.execute(f"SELECT id FROM {table}"))  # noqa: S608


def _intact(old: sqlite3.Connection, tile_id: int) -> tuple[tuple[str, Row], ...]:
    """Rows of the outbox and of the pixels; ValueError where they do not fit together."""
    row = _one(old, "outbox", "tile_id", tile_id)
    pixels = _one(old, "payload", "tile_id", tile_id)
    description = _decoder.decode(row["description"])
    if (
        hashlib.sha256(pixels["data"]).digest() != description.payload_sha256
        or bytes.fromhex(description.sample_id) != row["sample_id"]
        or row["size"] != len(pixels["data"])
    ):
        raise ValueError("damaged")
    return ("outbox", row), ("payload", pixels)


def _one(connection: sqlite3.Connection, table: str, column: str, number: int) -> Row:
    query = f"SELECT * FROM {table} WHERE {column} = ?"  # noqa: S608 - our own names
    for row in _dicts(connection.execute(query, (number,))):
        return row
    raise LookupError(table)


def _copied(
    old: sqlite3.Connection,
    table: str,
    known: Mapping[str, Container[Any]],
    changed: Row,
    note: Note,
) -> Iterator[Piece]:
    """Rows one by one, those left out that belong to nothing known."""
    for row in _rows(old, table):
        if _fits(row, known):
            yield Piece(((table, row | changed),), note)


def _fits(row: Row, known: Mapping[str, Container[Any]]) -> bool:
    return all(row.get(column) in values for column, values in known.items())


def _rows(old: sqlite3.Connection, table: str, *, latest_first: bool = False) -> Iterator[Row]:
    """All rows that can be reached from either end; the first column is the key."""
    reached: int | None = None
    for backwards in (latest_first, not latest_first):
        order = " DESC" if backwards else ""
        try:
            query = f"SELECT * FROM {table} ORDER BY rowid{order}"  # noqa: S608 - our own names
            for row in _dicts(old.execute(query)):
                key = next(iter(row.values()))
                if backwards is not latest_first:
                    if key == reached:
                        return
                else:
                    reached = key
                yield row
        except UNREADABLE:
            continue
        return


def _dicts(cursor: sqlite3.Cursor) -> Iterator[Row]:
    names = [column[0] for column in cursor.description]
    for values in cursor:
        yield dict(zip(names, values, strict=True))
