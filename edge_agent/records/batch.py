"""A batch of verdicts into ledger and outbox: one transaction, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from edge_agent.domain import Frame, Judged
from edge_agent.records.counters import DEVICE, Changes, read_counter
from edge_agent.records.database import Database
from edge_agent.records.drift import forget_leaders, write_drift
from edge_agent.records.errors import RecordsFull
from edge_agent.records.events import read_events, write_event
from edge_agent.records.eviction import Room
from edge_agent.records.rotation import rotate
from edge_agent.records.tile_rows import Writer
from edge_agent.records.values import BatchResult, Caps, FrameProgress, SampleRef, Survey
from edge_agent.scoring.survey_watch import DriftNews

__all__ = ["BatchResult", "Caps", "FrameProgress", "JudgedTile", "Survey", "commit_batch"]

JudgedTile: TypeAlias = tuple[int, Frame, Judged]
"""Frame id, frame, and what was found out about one of its tiles."""

_ATTEMPTS: Final = 8
_SLACK: Final = 64 * 1024
_ROW_BYTES: Final = 400
_RESERVE: Final = 16 * 1024 * 1024
"""Free disk below which the file stops growing: the write-ahead log's 4 MiB, the same again when
it is folded into the file, and as much to spare."""
_ROTATED_PER_TILE: Final = 4
_ROTATED_MIN: Final = 256


def commit_batch(
    database: Database,
    survey: Survey,
    judged: Sequence[JudgedTile],
    progress: Sequence[FrameProgress],
    caps: Caps,
    now: float,
    drift: DriftNews | None = None,
) -> BatchResult:
    """Record a batch, queue what is kept, and note how far the frames have come.

    `drift` is what the batch adds to the drift test and to the memory of kept tiles.

    Where the disk or the file's hard stop leaves no room, old verdicts and then the
    least valuable samples give way, and the batch is written again.

    Raises:
        RecordsFull: no room, and nothing left to give up.
        RecordsCorrupt, RecordsUnavailable: as `Database.writing`.
        ValueError: a kept tile without payload.
    """
    shed, limits = _spare_the_disk(database, survey, judged, caps, now)
    for attempt in range(_ATTEMPTS):
        try:
            with database.writing() as connection:
                result = _write(connection, survey, judged, progress, limits, now, drift)
        except RecordsFull:
            if attempt + 1 == _ATTEMPTS:
                raise
            with database.named_errors():
                # The log's pages can be written over again: that needs no room.
                database.connection.execute("PRAGMA wal_checkpoint(RESTART)")
            # At first only better samples displace others; then the least valuable just go.
            wanted = _SLACK << (2 * attempt)
            gone, left = _give_way(database, survey, wanted, attempt > 0, now)
            shed += gone
            limits = replace(caps, outbox_max_bytes=min(caps.outbox_max_bytes, left))
        else:
            return replace(result, evicted=(*shed, *result.evicted))
    raise RecordsFull(f"{database.path}: no room for a batch of {len(judged)} tiles")


def _write(
    connection: sqlite3.Connection,
    survey: Survey,
    judged: Sequence[JudgedTile],
    progress: Sequence[FrameProgress],
    caps: Caps,
    now: float,
    drift: DriftNews | None,
) -> BatchResult:
    changes = Changes()
    room = Room(connection, caps, survey.survey_id, changes, now)
    writer = Writer(connection, survey, room, changes, now)
    for frame_id, frame, item in judged:
        writer.record(frame_id, frame, item)
    for step in progress:
        _advance_frame(connection, survey, step, changes, now)
    if writer.recorded:
        # Whatever ended an earlier run, this one got further: no file that waits is to blame.
        connection.execute(
            "UPDATE frame SET tries = 0 WHERE survey_id = ? AND state = 'open' AND tries > 0",
            (survey.survey_id,),
        )
    rotated = _keep_ledger_small(connection, survey, len(judged), caps, writer.cost, changes)
    writer.finish()
    room.finish()
    changes.write(connection)
    evicted = (*room.evicted, *writer.refused)
    if drift is not None:
        write_drift(connection, survey.run_id, drift, now)
        # Older ones are forgotten already; those of this batch were written just now.
        forget_leaders(connection, survey.run_id, (sample.address for sample in evicted))
    gone = {sample.sample_id for sample in evicted}
    kept = tuple(sample for sample in writer.queued if sample.sample_id not in gone)
    return BatchResult(writer.recorded, kept, evicted, rotated)


def _advance_frame(
    connection: sqlite3.Connection,
    survey: Survey,
    step: FrameProgress,
    changes: Changes,
    now: float,
) -> None:
    """A frame that is finished or failed stays so."""
    moved = connection.execute(
        "UPDATE frame SET tiles_done = ?, state = ?, changed_at = ?, tries = 0"
        " WHERE id = ? AND state = 'open'",
        (step.tiles_done, "finished" if step.finished else "open", now, step.frame_id),
    ).rowcount
    if moved and step.finished:
        changes.add(survey.survey_id, "frames_finished")


def _keep_ledger_small(
    connection: sqlite3.Connection,
    survey: Survey,
    tiles: int,
    caps: Caps,
    added: int,
    changes: Changes,
) -> int:
    """Forget as much as the ledger is too large, over several batches if need be."""
    changes.add(DEVICE, "ledger_bytes", added)
    size = read_counter(connection, DEVICE, "ledger_bytes") + added
    if not caps.ledger_max_bytes or size <= caps.ledger_max_bytes:
        return 0
    most = max(_ROTATED_PER_TILE * tiles, _ROTATED_MIN)
    return _forget(connection, survey, size - caps.ledger_max_bytes, most, changes)


def _forget(
    connection: sqlite3.Connection, survey: Survey, wanted: int, most: int, changes: Changes
) -> int:
    forgotten = rotate(connection, survey.survey_id, wanted, most)
    changes.add(DEVICE, "ledger_bytes", -forgotten.size)
    changes.add(DEVICE, "ledger_rotated", forgotten.rows)
    changes.add(DEVICE, "ledger_rotated_kept", forgotten.kept)
    return forgotten.rows


def _spare_the_disk(
    database: Database, survey: Survey, judged: Sequence[JudgedTile], caps: Caps, now: float
) -> tuple[list[SampleRef], Caps]:
    """On a disk that is nearly full, let the file grow no more; samples given up, and new caps.

    Once it is quite full, even giving up samples is impossible: that is written, too, to the
    write-ahead log first and to the file later.
    """
    payloads = sum(len(item.payload or b"") for _, _, item in judged)
    if database.free_disk() >= _RESERVE + 3 * payloads:
        return [], caps
    wanted = _ROW_BYTES * len(judged)
    gone, left = _give_way(database, survey, wanted, True, now)
    return gone, replace(caps, outbox_max_bytes=min(caps.outbox_max_bytes, left))


def _give_way(
    database: Database, survey: Survey, wanted: int, shed: bool, now: float
) -> tuple[list[SampleRef], int]:
    """Free `wanted` bytes inside the file: old verdicts, then samples if `shed`.

    Returns:
        Samples given up, and the bytes the outbox may hold from now on.
    """
    with database.writing() as connection:
        changes = Changes()
        room = Room(connection, Caps(0), survey.survey_id, changes, now)
        held = read_counter(connection, DEVICE, "outbox_bytes")
        rows = max(wanted // _ROW_BYTES, _ROTATED_MIN)
        freed = _forget(connection, survey, wanted, rows, changes) * _ROW_BYTES
        left = room.shed(min(max(wanted - freed, 0), held)) if shed else max(held - wanted, 0)
        changes.add(DEVICE, "full")
        changes.write(connection)
        latest = read_events(connection, 1)
        if not latest or latest[0].kind != "full":
            write_event(connection, "full", "no room on the disk or in the file", now)
    return room.evicted, left
