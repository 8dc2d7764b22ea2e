"""Frames as the operator sees them: how far they have come, and a second chance for the failed."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from edge_agent.records.counters import Changes
from edge_agent.records.database import Database

FrameState = Literal["open", "finished", "failed"]

_LIST: Final = (
    "SELECT survey.name, frame.name, state, reason, message, notes, tiles_done, tile_count,"
    " tries, changed_at FROM frame JOIN survey ON survey.id = frame.survey_id"
    " WHERE (? IS NULL OR survey.name = ?) AND (? = 0 OR state = 'failed')"
    " ORDER BY frame.id DESC LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """One file of a survey."""

    survey: str
    name: str
    state: FrameState
    reason: str | None
    """Of a failed frame: a short code."""
    message: str | None
    notes: tuple[str, ...]
    """What was odd about it, without stopping it."""
    tiles_done: int
    tile_count: int
    """0 until it was opened."""
    tries: int
    """Times it was opened since it last came further."""
    changed_at: float


def list_frames(
    database: Database, survey: str | None = None, *, failed: bool = False, limit: int = 100
) -> list[FrameEntry]:
    """The latest frames, newest first: of one survey or of all, all or the failed only;
    of `limit` -1 no matter how many."""
    with database.reading() as connection:
        rows = connection.execute(_LIST, (survey, survey, int(failed), limit)).fetchall()
    return [_entry(*row) for row in rows]


def retry_frames(
    database: Database, survey: str | None, names: Collection[str] | None
) -> list[str]:
    """Let failed frames be read again, from where they stood; the names of those that will be.

    Args:
        survey: of this survey only; None: of all.
        names: only these; None: all failed ones.

    A frame that is open or finished stays as it is.
    """
    wanted = None if names is None else set(names)
    done: list[str] = []
    with database.writing() as connection:
        changes = Changes()
        rows = connection.execute(
            "SELECT frame.id, frame.survey_id, frame.name, reason FROM frame"
            " JOIN survey ON survey.id = frame.survey_id"
            " WHERE state = 'failed' AND (? IS NULL OR survey.name = ?) ORDER BY frame.id",
            (survey, survey),
        ).fetchall()
        for frame_id, survey_id, name, reason in rows:
            if wanted is not None and name not in wanted:
                continue
            connection.execute(
                "UPDATE frame SET state = 'open', reason = NULL, message = NULL, tries = 0"
                " WHERE id = ?",
                (frame_id,),
            )
            changes.add(survey_id, "frames_failed", -1)
            changes.add(survey_id, f"failed:{reason}", -1)
            done.append(name)
        changes.write(connection)
    return done


def _entry(  # the columns of `_LIST`
    survey: str,
    name: str,
    state: FrameState,
    reason: str | None,
    message: str | None,
    notes: str,
    *numbers: Any,
) -> FrameEntry:
    return FrameEntry(survey, name, state, reason, message, tuple(json.loads(notes)), *numbers)
