"""Ledger rows and outbox rows of a batch, inside its transaction."""

from __future__ import annotations

import math
import sqlite3
from typing import Final

from edge_agent.domain import Frame, Judged
from edge_agent.records.counters import DEVICE, Changes, read_counter
from edge_agent.records.describe import Place, describe, encode_description, hash_bytes
from edge_agent.records.eviction import Room
from edge_agent.records.facts import encode_facts
from edge_agent.records.identity import address, sample_uuid
from edge_agent.records.rotation import row_cost
from edge_agent.records.values import SampleRef, Survey
from edge_agent.records.words import Words
from edge_agent.selection.budget import priority

_TILE: Final = (
    "INSERT INTO tile (frame_id, run_id, row, col, height, width, gsd_m, longitude, latitude,"
    " sigma_m, nodata_share, kept, reason, value, quality, facts, inclusion_probability,"
    " perceptual_hash, content_sha256, sample_id, boot, sequence, payload_size, delivery)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (frame_id, row, col) DO NOTHING"
)
_NOT_KEPT: Final = (None,) * 8


class Writer:
    """Writes tiles one by one, and knows what became of them."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        survey: Survey,
        room: Room,
        changes: Changes,
        now: float,
    ) -> None:
        self._connection = connection
        self._survey = survey
        self._room = room
        self._changes = changes
        self._now = now
        self._words = Words(connection)
        self._frames: dict[int, tuple[str, int, int]] = {}
        self._sequence = self._first = read_counter(connection, DEVICE, "sequence")
        self.recorded = 0
        self.cost = 0
        self.queued: list[SampleRef] = []
        self.refused: list[SampleRef] = []

    def record(self, frame_id: int, frame: Frame, judged: Judged) -> None:
        """Write one tile; a place of a frame that was judged before stays as it was."""
        keep = judged.verdict.keep
        if keep and (not judged.payload or judged.payload_type is None):
            raise ValueError(f"{frame.name}: a kept tile comes with its payload")
        facts = encode_facts(judged, self._words.intern)
        sample_id = self._sample_id(frame_id, judged)
        row = (
            *self._place(frame_id, judged),
            facts,
            *(self._kept_columns(judged, sample_id) if keep else _NOT_KEPT),
        )
        cursor = self._connection.execute(_TILE, row)
        if cursor.rowcount != 1:
            return
        self.recorded += 1
        self.cost += row_cost(facts)
        self._count(judged)
        if keep and cursor.lastrowid is not None:
            self._queue(cursor.lastrowid, sample_id, frame, judged)

    def finish(self) -> None:
        """Write the numbers handed out."""
        self._changes.add(DEVICE, "sequence", self._sequence - self._first)

    def _queue(self, tile_id: int, sample_id: bytes, frame: Frame, judged: Judged) -> None:
        payload = judged.payload or b""
        survey_id = self._survey.survey_id
        reference = SampleRef(
            sample_id.hex(), address(frame.name, judged.tile.row, judged.tile.column)
        )
        self._sequence += 1
        key = priority(_worth(judged), len(payload))
        if not self._room.admit(len(payload), key):
            self._connection.execute(
                "UPDATE tile SET delivery = 'evicted', delivery_detail = 'no room',"
                " delivery_at = ? WHERE id = ?",
                (self._now, tile_id),
            )
            self._changes.moved(survey_id, None, "evicted", len(payload))
            self.refused.append(reference)
            return
        place = Place(sample_id.hex(), self._survey.boot, self._sequence)
        description = encode_description(describe(place, self._survey, frame, judged))
        self._connection.execute(
            "INSERT INTO outbox (tile_id, sample_id, survey_id, priority, size, queued_at,"
            " description) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (tile_id, sample_id, survey_id, key, len(payload), self._now, description),
        )
        self._connection.execute("INSERT INTO payload VALUES (?, ?)", (tile_id, payload))
        self._changes.moved(survey_id, None, "queued", len(payload))
        self.queued.append(reference)

    def _place(self, frame_id: int, judged: Judged) -> tuple[object, ...]:
        tile, verdict = judged.tile, judged.verdict
        position = tile.position
        return (
            frame_id,
            self._survey.run_id,
            tile.row,
            tile.column,
            tile.height,
            tile.width,
            tile.gsd_m,
            position.longitude if position else None,
            position.latitude if position else None,
            position.sigma_m if position else None,
            tile.nodata_share,
            int(verdict.keep),
            self._words.intern(verdict.reasons[0].code),
            _worth(judged),
            judged.quality,
        )

    def _kept_columns(self, judged: Judged, sample_id: bytes) -> tuple[object, ...]:
        return (
            judged.verdict.inclusion_probability,
            hash_bytes(judged.perceptual_hash),
            judged.content_sha256,
            sample_id,
            self._survey.boot,
            self._sequence + 1,
            len(judged.payload or b""),
            "queued",
        )

    def _sample_id(self, frame_id: int, judged: Judged) -> bytes:
        if not judged.verdict.keep:
            return b""
        if frame_id not in self._frames:
            name, size, mtime_ns = self._connection.execute(
                "SELECT name, size, mtime_ns FROM frame WHERE id = ?", (frame_id,)
            ).fetchone()
            self._frames[frame_id] = (name, size, mtime_ns)
        survey = self._survey
        tile = judged.tile
        return sample_uuid(
            survey.name, self._frames[frame_id], tile.row, tile.column, survey.bundle_sha256
        ).bytes

    def _count(self, judged: Judged) -> None:
        verdict = judged.verdict
        state = "kept" if verdict.keep else "skipped"
        survey_id = self._survey.survey_id
        self._changes.add(survey_id, "tiles_seen")
        self._changes.add(survey_id, f"tiles_{state}")
        self._changes.add(survey_id, f"{state}:{verdict.reasons[0].code}")
        if judged.payload is not None and verdict.keep:
            self._changes.add(survey_id, "payload_bytes_kept", len(judged.payload))


def _worth(judged: Judged) -> float:
    """The verdict's value; a number that is not finite is worth nothing."""
    value = judged.verdict.value
    return min(max(float(value), 0.0), 1.0) if math.isfinite(value) else 0.0
