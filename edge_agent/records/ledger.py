"""Starts, surveys and frames. The tiles' rows are written by `batch`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from edge_agent.domain import Frame
from edge_agent.records.counters import add, advance
from edge_agent.records.database import Database
from edge_agent.records.events import Event, read_events, write_event
from edge_agent.records.identity import storable
from edge_agent.records.values import FileKey, FrameRow, Survey


def start_boot(database: Database) -> int:
    """Count a start of the device's filter; its number, higher than any before."""
    with database.writing() as connection:
        return advance(connection, "boot")


def record_event(database: Database, kind: str, message: str, now: float) -> None:
    """Keep an entry for the operator."""
    with database.writing() as connection:
        write_event(connection, kind, message, now)


def last_events(database: Database, limit: int = 10) -> list[Event]:
    """The latest entries, newest first."""
    with database.reading() as connection:
        return read_events(connection, limit)


def open_survey(
    database: Database,
    name: str,
    bundle: str,
    bundle_sha256: bytes,
    policy: str,
    *,
    policy_settings: str,
    labels: Sequence[str],
    boot: int,
    now: float,
) -> Survey:
    """The survey of that name, judged from here on by this bundle under this policy.

    Args:
        bundle: name@version.
        policy: its id.
        policy_settings: the policy's settings as JSON, for `explain`.
        labels: the bundle's classes, in the order of its logits.

    A survey is known by its name alone: another bundle or policy is another run of it, and what
    was finished before stays finished.
    """
    name = storable(name)
    encoded = msgspec.json.encode(list(labels)).decode()
    with database.writing() as connection:
        connection.execute(
            "INSERT INTO survey (name, opened_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (name, now),
        )
        (survey_id,) = connection.execute(
            "SELECT id FROM survey WHERE name = ?", (name,)
        ).fetchone()
        key = (survey_id, bundle, bundle_sha256, policy, encoded)
        connection.execute(
            "INSERT INTO run (survey_id, bundle, bundle_sha256, policy, labels, policy_settings,"
            " opened_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (*key, policy_settings, now),
        )
        (run_id,) = connection.execute(
            "SELECT id FROM run WHERE survey_id = ? AND bundle = ? AND bundle_sha256 = ?"
            " AND policy = ? AND labels = ?",
            key,
        ).fetchone()
        (runs,) = connection.execute(
            "SELECT count(*) FROM run WHERE survey_id = ?", (survey_id,)
        ).fetchone()
    return Survey(
        survey_id, run_id, name, bundle, bundle_sha256, policy, tuple(labels), boot, runs - 1
    )


def frame_state(database: Database, survey_id: int, key: FileKey) -> FrameRow | None:
    """How far the frame has come, None if it was never begun."""
    with database.named_errors():
        return _frame(database.connection, survey_id, _key_columns(key))


def begin_frame(
    database: Database, survey_id: int, key: FileKey, frame: Frame, tile_count: int, now: float
) -> FrameRow:
    """Note that the frame was opened and will give `tile_count` tiles; how far it has come.

    With another number of tiles than before, the tiling was changed: the frame starts again, and
    tiles at places already judged are recorded no second time.
    """
    name = _key_columns(key)
    with database.writing() as connection:
        known = _frame(connection, survey_id, name)
        if known is not None and known.finished:
            return known
        if known is None:
            cursor = connection.execute(
                "INSERT INTO frame (survey_id, name, size, mtime_ns, state, changed_at)"
                " VALUES (?, ?, ?, ?, 'open', ?)",
                (survey_id, *name, now),
            )
            add(connection, survey_id, {"frames_begun": 1})
            known = FrameRow(cursor.lastrowid or 0, 0, False)
        connection.execute(
            "UPDATE frame SET width = ?, height = ?, gsd_m = ?, longitude = ?, latitude = ?,"
            " sigma_m = ?, captured_at = ?, clock = ?, crs = ?, notes = ?, changed_at = ?,"
            " tiles_done = CASE WHEN tile_count = ? THEN tiles_done ELSE 0 END, tile_count = ?"
            " WHERE id = ?",
            (*_columns(frame), now, tile_count, tile_count, known.frame_id),
        )
        return _frame(connection, survey_id, name) or known


def fail_frame(
    database: Database, survey_id: int, key: FileKey, reason: str, message: str, now: float
) -> None:
    """The one entry that says why a file gave no tiles, or not all: it is not tried again.

    `reason` is a short code to count by, `message` a sentence for the operator. A file that
    failed before, or was finished, stays as it is.
    """
    name = _key_columns(key)
    reason, message = storable(reason), storable(message)
    with database.writing() as connection:
        known = _frame(connection, survey_id, name)
        if known is not None and known.finished:
            return
        if known is None:
            connection.execute(
                "INSERT INTO frame (survey_id, name, size, mtime_ns, state, reason, message,"
                " changed_at) VALUES (?, ?, ?, ?, 'failed', ?, ?, ?)",
                (survey_id, *name, reason, message, now),
            )
            add(connection, survey_id, {"frames_begun": 1})
        else:
            connection.execute(
                "UPDATE frame SET state = 'failed', reason = ?, message = ?, changed_at = ?"
                " WHERE id = ?",
                (reason, message, now, known.frame_id),
            )
        add(connection, survey_id, {"frames_failed": 1, f"failed:{reason}": 1})


def _key_columns(key: FileKey) -> tuple[str, int, int]:
    return storable(key.name), key.size, key.mtime_ns


def _frame(
    connection: sqlite3.Connection, survey_id: int, key: tuple[str, int, int]
) -> FrameRow | None:
    row = connection.execute(
        "SELECT id, tiles_done, state FROM frame"
        " WHERE survey_id = ? AND name = ? AND size = ? AND mtime_ns = ?",
        (survey_id, *key),
    ).fetchone()
    if row is None:
        return None
    frame_id, tiles_done, state = row
    return FrameRow(frame_id, tiles_done, state != "open", state == "failed")


def _columns(frame: Frame) -> tuple[object, ...]:
    position = frame.position
    return (
        frame.width,
        frame.height,
        frame.gsd_m,
        position.longitude if position else None,
        position.latitude if position else None,
        position.sigma_m if position else None,
        storable(frame.captured_at) if frame.captured_at else None,
        frame.clock,
        storable(frame.crs) if frame.crs else None,
        msgspec.json.encode([storable(note) for note in frame.notes]).decode(),
    )
