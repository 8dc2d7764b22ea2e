"""Tiles, frames and databases to record; loaded by the tests and by the processes they start."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np

from edge_agent.domain import Finding, Frame, Judged, Position, Prediction, Reason, Tile, Verdict
from edge_agent.records.batch import commit_batch
from edge_agent.records.database import Database
from edge_agent.records.ledger import begin_frame, open_survey, start_boot
from edge_agent.records.values import BatchResult, Caps, FrameKey, FrameProgress, Survey
from edge_agent.scoring.survey_watch import DriftNews

LABELS = tuple(f"class-{number}" for number in range(17))
SCORES = ("msp", "max_logit", "entropy", "margin")
WIDE = Caps(outbox_max_bytes=2**40)


def frame(name: str = "DJI_0001.JPG") -> Frame:
    return Frame(
        name=name,
        width=4000,
        height=3000,
        gsd_m=0.03,
        position=Position(-76.1, 43.2, 3.0),
        captured_at="2026-05-01T09:30:00+00:00",
        clock="gps",
        crs=None,
    )


def judged(
    row: int,
    column: int = 0,
    *,
    keep: bool = True,
    value: float = 0.5,
    payload: bytes | None = None,
    size: int = 1000,
    reason: str = "",
    findings: tuple[Finding, ...] | None = None,
    seed: int = 0,
) -> Judged:
    """A believable tile; everything but the arguments follows from place and seed."""
    rng = np.random.default_rng([seed, row, column])
    p_values = {name: float(rng.uniform(0.01, 1.0)) for name in SCORES}
    code = reason or ("score:entropy" if keep else "familiar")
    if findings is None:
        evidence = {"nodata_share": 0.0, "contrast": float(rng.uniform(5, 60))}
        findings = (Finding("quality", "ok", evidence), Finding("novelty", "ok"))
    if keep and payload is None:
        payload = rng.bytes(size)
    return Judged(
        tile=Tile(row, column, 128, 128, np.zeros((1, 1, 3), np.uint8), 0.03, 0.0,
                  Position(-76.1 + row * 1e-5, 43.2, 3.0)),
        prediction=Prediction(
            probabilities=rng.dirichlet(np.full(len(LABELS), 0.2)),
            embedding=rng.normal(size=128).astype(np.float32),
            scores={name: float(rng.normal()) for name in SCORES},
            p_values=p_values,
        ),
        findings=findings,
        quality=None,
        content_sha256=hashlib.sha256(f"{seed} {row} {column}".encode()).digest(),
        perceptual_hash=int(rng.integers(2**63)),
        verdict=Verdict(keep, value, (Reason(code, {"p_value": p_values["entropy"]}),)),
        payload=payload if keep else None,
        payload_type="image/jpeg" if keep else None,
    )  # fmt: skip


def survey(database: Database, name: str = "north field", **changes: object) -> Survey:
    details = {
        "bundle": "scenes@1",
        "bundle_sha256": bytes(32),
        "policy": "abcdef",
        "policy_settings": '{"thresholds": {"entropy": 0.98, "msp": 1.0}}',
        "labels": LABELS,
        "boot": start_boot(database),
        "now": 1000.0,
    } | changes
    return open_survey(database, name, **details)  # type: ignore[arg-type]


def commit(
    database: Database,
    context: Survey,
    tiles: list[Judged],
    *,
    name: str = "DJI_0001.JPG",
    caps: Caps = WIDE,
    finished: bool = False,
    tile_count: int = 10_000,
    now: float = 1000.0,
    plan: str = "",
    drift: DriftNews | None = None,
) -> BatchResult:
    """Record tiles of one frame, going on where it stands."""
    key = FrameKey(name, len(name), 7)
    row = begin_frame(database, context.survey_id, key, frame(name), tile_count, now, plan)
    progress = FrameProgress(row.frame_id, row.tiles_done + len(tiles), finished)
    return commit_batch(
        database,
        context,
        [(row.frame_id, frame(name), one) for one in tiles],
        [progress],
        caps,
        now,
        drift,
    )


def counted(connection: sqlite3.Connection) -> dict[tuple[int, str], int]:
    """The counters that can be counted again, as the database keeps them; zeros left out."""
    skipped = ("boot", "birth", "sequence", "ledger_bytes", "ledger_rotated", "full",
               "ledger_rotated_kept", "receipts_unknown", "payload_bytes_sent")  # fmt: skip
    rows = connection.execute("SELECT scope, name, value FROM counter").fetchall()
    return {
        (scope, name): n
        for scope, name, n in rows
        if n and name not in skipped and not name.startswith("refused:")
    }


def recounted(connection: sqlite3.Connection) -> dict[tuple[int, str], int]:
    """The same, counted from the rows."""
    found: Counter[tuple[int, str]] = Counter()
    tiles = connection.execute(
        "SELECT run.survey_id, kept, text, payload_size, delivery FROM tile"
        " JOIN run ON run.id = run_id JOIN word ON word.id = tile.reason"
    )
    for scope, kept, reason, size, delivery in tiles.fetchall():
        verdict = "kept" if kept else "skipped"
        found[scope, "tiles_seen"] += 1
        found[scope, f"tiles_{verdict}"] += 1
        found[scope, f"{verdict}:{reason}"] += 1
        if kept:
            found[scope, "payload_bytes_kept"] += size
            found[scope, f"delivery:{delivery}"] += 1
        for state, name in (("stored", "stored"), ("queued", "waiting")):
            if delivery == state:
                found[scope, f"payload_bytes_{name}"] += size
    for scope, state, reason in connection.execute("SELECT survey_id, state, reason FROM frame"):
        found[scope, "frames_begun"] += 1
        if state != "open":
            found[scope, f"frames_{state}"] += 1
        if state == "failed":
            found[scope, f"failed:{reason}"] += 1
    rows, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(data)), 0) FROM outbox JOIN payload USING (tile_id)"
    ).fetchone()
    found[0, "outbox_rows"], found[0, "outbox_bytes"] = rows, size
    return {key: number for key, number in found.items() if number}


def problems(connection: sqlite3.Connection) -> list[str]:
    """What does not hold in the database, in words."""
    found = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
    found += [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    if counted(connection) != recounted(connection):
        found.append(f"counters {counted(connection)} are not {recounted(connection)}")
    found += [
        f"frame {name}: {done} done, {rows} rows"
        for name, done, rows in connection.execute(
            "SELECT name, tiles_done, (SELECT count(*) FROM tile WHERE frame_id = frame.id)"
            " FROM frame"
        )
        if done != rows
    ]
    queries = {
        "survey bytes": "SELECT name, bytes, (SELECT coalesce(sum(payload_size), 0) FROM tile"
        " JOIN run ON run.id = run_id WHERE run.survey_id = survey.id AND (charged = 1"
        " OR delivery IN ('queued', 'quarantined'))) AS again FROM survey WHERE bytes <> again",
        "outbox against ledger": "SELECT tile.id FROM tile LEFT JOIN outbox ON tile_id = tile.id"
        " WHERE (delivery IN ('queued', 'quarantined')) <> (outbox.tile_id IS NOT NULL)"
        " OR (delivery = 'quarantined') <> (quarantined = 1)",
        "payload sizes": "SELECT tile_id FROM outbox LEFT JOIN payload USING (tile_id)"
        " WHERE size IS NOT length(data)",
    }
    for what, query in queries.items():
        found += [f"{what}: {row}" for row in connection.execute(query)]
    return found


def random_tiles(rng: random.Random, first_row: int, count: int) -> list[Judged]:
    return [
        judged(
            first_row + index,
            keep=rng.random() < 0.4,
            value=rng.random(),
            size=rng.randint(1, 6000),
        )
        for index in range(count)
    ]


def damaged(path: Path, position: int, data: bytes) -> None:
    """Overwrite bytes of a file."""
    with path.open("r+b") as file:
        file.seek(position)
        file.write(data)
