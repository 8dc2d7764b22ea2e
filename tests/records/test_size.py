"""Bytes: what a verdict takes, how the ledger forgets, and what happens when no room is left."""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType

import pytest

from edge_agent.domain import Finding
from edge_agent.records import outbox
from edge_agent.records.database import Database, open_database
from edge_agent.records.errors import RecordsFull
from edge_agent.records.ledger import last_events
from edge_agent.records.memory import kept_hashes
from edge_agent.records.overview import overview
from edge_agent.records.settings import RecordsSettings
from edge_agent.records.values import Caps
from sync_protocol.messages import Settlement

GONE = ("frame ", "counters ")
"""What cannot be counted again once old verdicts have made room."""
LEDGER = (
    "SELECT sum(pgsize) FROM dbstat"
    " WHERE name LIKE 'tile%' OR name IN ('word', 'frame', 'run', 'counter')"
)


def ledger_bytes(database: Database) -> int:
    """Pages of the ledger's tables and indexes, their empty parts included."""
    return int(database.connection.execute(LEDGER).fetchone()[0])


def test_a_verdict_takes_less_than_400_bytes(database: Database, build: ModuleType) -> None:
    """On average over a survey, indexes included, with six findings on every tile."""
    survey = build.survey(database)
    findings = (
        Finding("quality", "ok", {"nodata_share": 0.0, "contrast": 31.7}),
        Finding("novelty", "flag", {"likeness": "perceptual", "distance": 7,
                                    "duplicate_of": "DJI_0001.JPG@1024,2048"}),
        Finding("range", "unknown", {"class": "oak", "z": 0.31}),
        Finding("flicker", "ok", {"views": 3, "excess": 0.12}),
        Finding("class_frequency", "inactive"),
    )  # fmt: skip
    count = 4000
    for start in range(0, count, 500):
        tiles = [
            build.judged(row, keep=row % 20 == 0, size=10, findings=findings)
            for row in range(start, start + 500)
        ]
        build.commit(database, survey, tiles)
    assert ledger_bytes(database) / count <= 400
    estimate = database.connection.execute(
        "SELECT value FROM counter WHERE name = 'ledger_bytes'"
    ).fetchone()[0]
    assert 0.8 <= estimate / ledger_bytes(database) <= 1.25


def test_the_ledger_forgets_old_surveys_first(database: Database, build: ModuleType) -> None:
    """Skipped tiles of another survey go, kept ones and the current survey's stay."""
    old, new = build.survey(database, "old"), build.survey(database, "new")
    caps = Caps(2**40, 0, 100_000)
    tiles = [build.judged(row, keep=row % 10 == 0) for row in range(300)]
    assert build.commit(database, old, tiles, name="old", caps=caps).rotated == 0
    rotated = build.commit(database, new, tiles, name="new", caps=caps).rotated
    left = dict(database.connection.execute(
        "SELECT survey_id || ':' || kept, count(*) FROM tile JOIN run ON run.id = run_id GROUP BY 1"
    ).fetchall())  # fmt: skip
    assert rotated == 270 - left.get("1:0", 0) > 100
    assert (left["1:1"], left["2:0"], left["2:1"]) == (30, 270, 30)
    for _ in range(3):
        build.commit(database, new, [build.judged(1000 + _)], name="new", caps=caps)
    estimate = database.connection.execute(
        "SELECT value FROM counter WHERE name = 'ledger_bytes'"
    ).fetchone()[0]
    assert estimate <= 100_000 + 1000


def test_a_long_life_leaves_room_for_new_verdicts(database: Database, build: ModuleType) -> None:
    """Samples long settled are forgotten in their turn; what waits stays, and novelty knows all."""
    caps = Caps(2**40, 0, 100_000)
    tiles = {}
    for flight in range(10):
        survey = build.survey(database, f"flight {flight}")
        for start in range(0, 100, 20):
            batch = [build.judged(r, size=20, seed=flight) for r in range(start, start + 20)]
            tiles |= {f"f{flight}@{tile.tile.row},0": tile for tile in batch}
            kept = build.commit(database, survey, batch, name=f"f{flight}", caps=caps).kept
            done = [Settlement(sample_id=one.sample_id, outcome="stored") for one in kept[1:]]
            outbox.settle(database, done, 5.0)
    survey = build.survey(database, "last")
    skipped = [build.judged(row, keep=False) for row in range(100)]
    build.commit(database, survey, skipped, name="last", caps=caps)
    left = dict(database.connection.execute(
        "SELECT coalesce(delivery, 'skipped'), count(*) FROM tile GROUP BY 1"
    ).fetchall())  # fmt: skip
    assert (left["skipped"], left["queued"]) == (100, 50)
    counters = overview(database).device
    assert counters["ledger_rotated_kept"] == counters["ledger_rotated"] == 950 - left["stored"]
    assert counters["ledger_bytes"] <= 100_000
    known = list(kept_hashes(database))
    assert sorted(known) == sorted(
        (name, tile.content_sha256, tile.perceptual_hash) for name, tile in tiles.items()
    )
    assert known[-1][0] == "f9@99,0"
    assert list(kept_hashes(database, 300)) == known[-300:]
    assert [row for row in build.problems(database.connection) if "key" in row] == []


def test_one_long_survey_forgets_its_own_oldest(database: Database, build: ModuleType) -> None:
    """Skipped and settled alike; the latest verdicts can be explained, whatever they were."""
    survey, caps = build.survey(database), Caps(2**40, 0, 100_000)
    for start in range(0, 2000, 50):
        batch = [build.judged(r, keep=r % 2 == 0, size=20) for r in range(start, start + 50)]
        kept = build.commit(database, survey, batch, caps=caps).kept
        done = [Settlement(sample_id=one.sample_id, outcome="skipped") for one in kept]
        outbox.settle(database, done, 5.0)
    rows = [n for (n,) in database.connection.execute("SELECT row FROM tile ORDER BY row")]
    assert rows == list(range(rows[0], 2000))
    assert rows[0] > 1000
    assert len(list(kept_hashes(database))) == 1000


def test_a_full_file_gives_up_the_worst_and_goes_on(path: Path, build: ModuleType) -> None:
    """At the hard stop the file stays within it, better samples replace worse, all is counted."""
    limit = 2_000_000
    rng = random.Random(4)
    with open_database(path, max_bytes=limit) as database:
        survey = build.survey(database)
        values = {}
        for batch in range(60):
            tiles = [build.judged(batch * 10 + n, value=rng.random(), size=8000) for n in range(10)]
            values |= {tile.tile.row: tile.verdict.value for tile in tiles}
            build.commit(database, survey, tiles)
        waiting = outbox.next_samples(database, 10_000)
        assert [p for p in build.problems(database.connection) if not p.startswith(GONE)] == []
        assert last_events(database)[0].kind == "full"
        assert [event.kind for event in last_events(database)].count("full") == 1
        pages = database.connection.execute("PRAGMA page_count").fetchone()[0]
    assert pages * 4096 <= limit
    assert len(waiting) * 8000 > 0.6 * limit
    best = sorted(values, key=lambda row: -values[row])[: len(waiting)]
    kept = {sample.description.row for sample in waiting}
    assert len(kept & set(best)) >= 0.9 * len(kept)


def test_a_full_file_of_skipped_tiles_forgets_the_oldest(path: Path, build: ModuleType) -> None:
    """With no sample to give up, old verdicts make room for new ones."""
    with open_database(path, max_bytes=600_000) as database:
        survey = build.survey(database)
        for batch in range(80):
            tiles = [build.judged(batch * 100 + n, keep=False) for n in range(100)]
            result = build.commit(database, survey, tiles)
            assert result.recorded == 100
        newest = database.connection.execute("SELECT max(row) FROM tile").fetchone()[0]
        assert newest == 7999


def test_no_room_at_all_is_one_clear_error(path: Path, build: ModuleType) -> None:
    """A file too small for a single batch says so and stays sound."""
    with open_database(path) as database:
        survey = build.survey(database)
        build.commit(database, survey, [build.judged(0)])
    with open_database(path, max_bytes=4096) as database:
        tiles = [build.judged(row, keep=False) for row in range(1, 2000)]
        with pytest.raises(RecordsFull, match="database_max_bytes"):
            build.commit(database, survey, tiles)
        assert [p for p in build.problems(database.connection) if not p.startswith(GONE)] == []


def test_settings_that_contradict_each_other_are_refused() -> None:
    """A hard stop below what is allowed inside would evict for no visible reason."""
    with pytest.raises(ValueError, match="database_max_bytes"):
        RecordsSettings(outbox_max_bytes=2**40)
    caps = Caps.of(RecordsSettings())
    assert (caps.outbox_max_bytes, caps.survey_max_bytes) == (512 * 2**20, 0)
