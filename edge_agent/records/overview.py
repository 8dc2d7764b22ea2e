"""The records at a glance, for `edge-agent status` and the status message."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from edge_agent.records.counters import DEVICE, read_scope
from edge_agent.records.database import Database
from edge_agent.records.drift import DriftRow, drift_row
from edge_agent.records.events import Event, read_events
from edge_agent.records.outbox import read_state
from edge_agent.records.values import OutboxState


@dataclass(frozen=True, slots=True)
class FrameFailure:
    """A file that gave no tiles, or not all."""

    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class SurveyState:
    """One survey in numbers."""

    name: str
    bundle: str
    policy: str
    """Of the latest run."""
    runs: int
    bytes: int
    """Pixels that count against the survey's cap: waiting, or sent."""
    counters: dict[str, int]
    """`tiles_seen`, `tiles_kept`, `tiles_skipped`, `kept:REASON`, `skipped:REASON`,
    `delivery:STATE`, `frames_begun`, `frames_finished`, `frames_failed`, `failed:REASON`,
    `refused:OUTCOME`, `payload_bytes_kept`, `payload_bytes_waiting`, `payload_bytes_stored`;
    none of them negative."""
    failures: tuple[FrameFailure, ...]
    """The latest few."""
    drift: DriftRow | None = None
    """Of the latest run: whether the survey is foreign; None where it was not asked."""

    def by_prefix(self, prefix: str) -> dict[str, int]:
        """The counters `PREFIX:NAME` as NAME -> count, the largest first, zeros left out."""
        found = {
            name.removeprefix(f"{prefix}:"): value
            for name, value in self.counters.items()
            if name.startswith(f"{prefix}:") and value
        }
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at a glance."""

    boot: int
    outbox: OutboxState
    surveys: tuple[SurveyState, ...]
    """The latest opened last."""
    device: dict[str, int]
    """Counters of no survey: `ledger_bytes`, `ledger_rotated`, `payload_bytes_sent`, ..."""
    events: tuple[Event, ...]
    """The latest, newest first."""


def overview(database: Database, *, events: int = 10, failures: int = 20) -> Overview:
    """The records at a glance, as of one moment."""
    with database.reading() as connection:
        device = read_scope(connection, DEVICE)
        return Overview(
            boot=device.get("boot", 0),
            outbox=read_state(connection),
            surveys=tuple(
                _survey(connection, row, failures)
                for row in connection.execute(
                    "SELECT survey.id, survey.name, survey.bytes, count(*), max(run.id)"
                    " FROM survey JOIN run ON run.survey_id = survey.id"
                    " GROUP BY survey.id ORDER BY max(run.opened_at), survey.id"
                ).fetchall()
            ),
            device=device,
            events=tuple(read_events(connection, events)),
        )


def totals(database: Database) -> dict[str, int]:
    """Counters of all surveys together and of the device, for the status message."""
    with database.reading() as connection:
        rows = connection.execute("SELECT name, sum(value) FROM counter GROUP BY name")
        return {name: max(int(value), 0) for name, value in rows if len(name) <= 128}


def _survey(
    connection: sqlite3.Connection, row: tuple[int, str, int, int, int], failures: int
) -> SurveyState:
    survey_id, name, charged, runs, last_run = row
    bundle, policy = connection.execute(
        "SELECT bundle, policy FROM run WHERE id = ?", (last_run,)
    ).fetchone()
    failed = connection.execute(
        "SELECT name, reason, message FROM frame WHERE survey_id = ? AND state = 'failed'"
        " ORDER BY id DESC LIMIT ?",
        (survey_id, failures),
    )
    return SurveyState(
        name=name,
        bundle=bundle,
        policy=policy,
        runs=runs,
        bytes=charged,
        counters=read_scope(connection, survey_id),
        failures=tuple(FrameFailure(*found) for found in failed),
        drift=drift_row(connection, last_run),
    )
