"""Starts, surveys and frames. The tiles' rows are written by `batch`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from edge_agent.domain import Frame
from edge_agent.records.counters import add, advance
from edge_agent.records.database import Database
from edge_agent.records.events import Event, read_events, write_event
from edge_agent.records.identity import storable
from edge_agent.records.values import FileKey, FrameRow, Survey

_ID: Final = "SELECT id FROM frame WHERE survey_id = ? AND name = ? AND size = ? AND mtime_ns = ?"


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
        run_id, runs = _open_run(connection, key, policy_settings, now)
    return Survey(
        survey_id, run_id, name, bundle, bundle_sha256, policy, tuple(labels), boot, runs - 1
    )


def _open_run(
    connection: sqlite3.Connection,
    key: tuple[int, str, bytes, str, str],
    policy_settings: str,
    now: float,
) -> tuple[int, int]:
    """The run of survey, bundle, its hash, policy and labels; how many runs the survey has."""
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
    (runs,) = connection.execute("SELECT count(*) FROM run WHERE survey_id = ?", key[:1]).fetchone()
    return run_id, runs


def frame_state(database: Database, survey_id: int, key: FileKey) -> FrameRow | None:
    """How far the frame has come, None if it was never begun."""
    with database.reading() as connection:
        found = connection.execute(_ID, (survey_id, *_key_columns(key))).fetchone()
        return None if found is None else _row(connection, found[0])


def note_try(database: Database, survey_id: int, key: FileKey, now: float) -> int:
    """Count, before a file is opened, that it will be; how often that came to no end before.

    What kills the process cannot be noted afterwards. The count starts again when a batch brings
    the frame further, and when it is finished or fails; of such a frame it is 0.
    """
    name = _key_columns(key)
    with database.writing() as connection:
        frame_id = _ensure_frame(connection, survey_id, name, now)
        (tries,) = connection.execute(
            "SELECT tries FROM frame WHERE id = ?", (frame_id,)
        ).fetchone()
        connection.execute(
            "UPDATE frame SET tries = tries + 1 WHERE id = ? AND state = 'open'", (frame_id,)
        )
    return int(tries)


def forget_try(database: Database, survey_id: int, key: FileKey) -> None:
    """Take one try back: the program was asked to stop while the file was open."""
    with database.writing() as connection:
        connection.execute(
            f"UPDATE frame SET tries = max(tries - 1, 0) WHERE id = ({_ID})",  # noqa: S608
            (survey_id, *_key_columns(key)),
        )


def begin_frame(
    database: Database,
    survey_id: int,
    key: FileKey,
    frame: Frame,
    tile_count: int,
    now: float,
    plan: str = "",
) -> FrameRow:
    """Note that the frame was opened and will give `tile_count` tiles; how far it has come.

    `plan` says how it is cut into tiles (their size, their distance, the ground they cover): any
    text that differs where the tiles differ. With another plan than before, or another number of
    tiles, `tiles_done` counts from 0 again, and the caller reads the frame from its first tile
    on; a tile at a row and column that were judged before is recorded no second time.
    """
    name = _key_columns(key)
    with database.writing() as connection:
        frame_id = _ensure_frame(connection, survey_id, name, now)
        connection.execute(
            "UPDATE frame SET width = ?, height = ?, gsd_m = ?, longitude = ?, latitude = ?,"
            " sigma_m = ?, captured_at = ?, clock = ?, crs = ?, notes = ?, changed_at = ?,"
            " tiles_done = CASE WHEN tile_count = ? AND plan = ? THEN tiles_done ELSE 0 END,"
            " tile_count = ?, plan = ? WHERE id = ? AND state = 'open'",
            (*_columns(frame), now, *((tile_count, storable(plan)) * 2), frame_id),
        )
        return _row(connection, frame_id)


def fail_frame(
    database: Database, survey_id: int, key: FileKey, reason: str, message: str, now: float
) -> None:
    """The one entry that says why a file gave no tiles, or not all; it is left alone.

    `reason` is a short code to count by, `message` a sentence for the operator. A file that
    failed before, or was finished, stays as it is. `frames.retry_frames` opens it again.
    """
    name = _key_columns(key)
    reason, message = storable(reason), storable(message)
    with database.writing() as connection:
        frame_id = _ensure_frame(connection, survey_id, name, now)
        failed = connection.execute(
            "UPDATE frame SET state = 'failed', reason = ?, message = ?, changed_at = ?, tries = 0"
            " WHERE id = ? AND state = 'open'",
            (reason, message, now, frame_id),
        ).rowcount
        if failed:
            add(connection, survey_id, {"frames_failed": 1, f"failed:{reason}": 1})


def _key_columns(key: FileKey) -> tuple[str, int, int]:
    return storable(key.name), key.size, key.mtime_ns


def _ensure_frame(
    connection: sqlite3.Connection, survey_id: int, key: tuple[str, int, int], now: float
) -> int:
    """The frame's number; a frame that is new is open."""
    new = connection.execute(
        "INSERT INTO frame (survey_id, name, size, mtime_ns, state, changed_at)"
        " VALUES (?, ?, ?, ?, 'open', ?) ON CONFLICT DO NOTHING",
        (survey_id, *key, now),
    ).rowcount
    if new:
        add(connection, survey_id, {"frames_begun": 1})
    (frame_id,) = connection.execute(_ID, (survey_id, *key)).fetchone()
    return int(frame_id)


def _row(connection: sqlite3.Connection, frame_id: int) -> FrameRow:
    tiles_done, state, plan, reason = connection.execute(
        "SELECT tiles_done, state, plan, reason FROM frame WHERE id = ?", (frame_id,)
    ).fetchone()
    return FrameRow(frame_id, tiles_done, state != "open", state == "failed", plan, reason or "")


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
