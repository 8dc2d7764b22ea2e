"""The drift test's memory, written in the transaction of the tiles that it has seen.

So a power cut neither loses a vote nor lets a block vote twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.records.database import Database
from edge_agent.records.events import write_event
from edge_agent.records.identity import storable
from edge_agent.scoring.drift import Alarm, DriftState, at_least
from edge_agent.scoring.survey_watch import DriftNews, alarm_in_words

FOREIGN: Final = "foreign"
"""Kind of the event that tells of an alarm."""

BOUND_RISK: Final = 0.001
"""Of the lower bound shown to people."""

KEPT_RUNS: Final = 8
"""Runs beside the one under way whose blocks and embeddings are kept: of each some 4 MiB, with
embeddings of more than 128 numbers up to 18 MiB."""

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(DriftState)


@dataclass(frozen=True, slots=True)
class DriftMemory:
    """What an earlier start of the same run left."""

    state: DriftState | None
    blocks: tuple[str, ...]
    leaders: tuple[tuple[str, npt.NDArray[np.float32]], ...]
    """Address and (D,) embedding of kept tiles, the oldest first."""


@dataclass(frozen=True, slots=True)
class DriftRow:
    """How the drift test of a run stands, for people."""

    tiles: int
    """Valid tiles seen."""
    strange: int
    """Of these."""
    votes: int
    """Blocks of ground that have voted."""
    share: float | None
    """Share of strange ground by these votes; None before the first."""
    at_least: float
    """What the share is at least, but for one survey in a thousand."""
    familiar_share: float
    """What familiar ground may have."""
    inactive: str
    """Why nothing is tested, empty where it is."""
    alarm: Alarm | None
    alarmed_at: float | None
    """Seconds since 1970 by the device's clock."""


def write_drift(connection: sqlite3.Connection, run_id: int, news: DriftNews, now: float) -> None:
    """Note what a batch added, inside its transaction."""
    connection.execute(
        "INSERT INTO drift (run_id, state, familiar_share, inactive) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (run_id) DO UPDATE SET state = excluded.state,"
        " familiar_share = excluded.familiar_share, inactive = excluded.inactive",
        (run_id, _encoder.encode(news.state).decode(), news.familiar_share, news.inactive),
    )
    connection.executemany(
        "INSERT INTO drift_block VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(run_id, block) for block in news.blocks],
    )
    if news.raised is not None:
        connection.execute("UPDATE drift SET alarmed_at = ? WHERE run_id = ?", (now, run_id))
        write_event(connection, FOREIGN, alarm_in_words(news.raised, news), now)
    if news.leaders:
        _write_leaders(connection, run_id, news)


def forget_leaders(connection: sqlite3.Connection, run_id: int, addresses: Iterable[str]) -> None:
    """Their tiles were given up: their like is welcome again."""
    connection.executemany(
        "DELETE FROM leader WHERE run_id = ? AND address = ?",
        [(run_id, storable(address)) for address in addresses],
    )


def forget_leader_of(connection: sqlite3.Connection, survey_id: int, address: str) -> None:
    """A tile of that survey was given up: under whatever policy or bundle it was kept."""
    connection.execute(
        "DELETE FROM leader WHERE run_id IN (SELECT id FROM run WHERE survey_id = ?)"
        " AND address = ?",
        (survey_id, storable(address)),
    )


def forget_older_runs(database: Database, run_id: int) -> None:
    """Keep blocks and embeddings of this run and of the latest others only."""
    with database.writing() as connection:
        for table in ("drift_block", "leader"):
            connection.execute(
                f"DELETE FROM {table} WHERE run_id <> ? AND run_id NOT IN"  # noqa: S608
                " (SELECT run_id FROM drift WHERE run_id <> ? ORDER BY run_id DESC LIMIT ?)",
                (run_id, run_id, KEPT_RUNS),
            )


def read_drift(database: Database, run_id: int) -> DriftMemory:
    """What is known of a run.

    A state that this version cannot read is as good as none: the test then starts again, with
    the blocks that have voted before. So is one whose blocks are forgotten: they must not vote
    twice. An alarm stays.
    """
    with database.reading() as connection:
        state = connection.execute("SELECT state FROM drift WHERE run_id = ?", (run_id,)).fetchone()
        blocks = connection.execute(
            "SELECT block FROM drift_block WHERE run_id = ? ORDER BY block", (run_id,)
        ).fetchall()
        leaders = connection.execute(
            "SELECT address, vector FROM leader WHERE run_id = ? ORDER BY id", (run_id,)
        ).fetchall()
    known = None if state is None else decoded(state[0])
    if known is not None and known.cast and not blocks and known.alarm is None:
        known = None
    return DriftMemory(
        known,
        tuple(block for (block,) in blocks),
        tuple((address, np.frombuffer(vector, "<f4")) for address, vector in leaders),
    )


def drift_row(connection: sqlite3.Connection, run_id: int) -> DriftRow | None:
    """How a run's test stands; None where no test was at work."""
    row = connection.execute(
        "SELECT state, familiar_share, inactive, alarmed_at FROM drift WHERE run_id = ?", (run_id,)
    ).fetchone()
    state = None if row is None else decoded(row[0])
    if state is None:
        return None
    return DriftRow(
        tiles=state.tiles,
        strange=state.strange,
        votes=state.cast,
        share=state.share,
        at_least=at_least(state.votes, BOUND_RISK),
        familiar_share=row[1],
        inactive=row[2],
        alarm=state.alarm,
        alarmed_at=row[3],
    )


def decoded(state: str) -> DriftState | None:
    """The state as it was written, None where it does not say one."""
    try:
        return _decoder.decode(state)
    except msgspec.DecodeError:
        return None


def _write_leaders(connection: sqlite3.Connection, run_id: int, news: DriftNews) -> None:
    """As memory does: an address counts once, and the oldest go beyond the capacity."""
    forget_leaders(connection, run_id, news.leaders)
    connection.executemany(
        "INSERT INTO leader (run_id, address, vector) VALUES (?, ?, ?)",
        [
            (run_id, storable(address), np.asarray(vector, "<f4").tobytes())
            for address, vector in news.leaders.items()
        ],
    )
    connection.execute(
        "DELETE FROM leader WHERE run_id = ? AND id <= (SELECT id FROM leader WHERE run_id = ?"
        " ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (run_id, run_id, max(news.leader_capacity, 1)),
    )
