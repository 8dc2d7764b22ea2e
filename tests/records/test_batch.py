"""Batches: all or nothing, once only, and counted right."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.records.batch import commit_batch
from edge_agent.records.database import Database, open_database
from edge_agent.records.identity import sample_uuid
from edge_agent.records.ledger import begin_frame, fail_frame, frame_state, start_boot
from edge_agent.records.memory import kept_hashes
from edge_agent.records.migrations import migrate
from edge_agent.records.outbox import next_samples, payload
from edge_agent.records.values import Caps, FrameKey, FrameProgress


def test_a_batch_lands_in_ledger_and_outbox(database: Database, build: ModuleType) -> None:
    """Every tile gets a ledger row, kept ones wait with their very bytes, counters agree."""
    survey = build.survey(database)
    tiles = [build.judged(0), build.judged(1, keep=False), build.judged(2, value=0.9)]
    result = build.commit(database, survey, tiles, finished=True)
    assert result.recorded == 3
    assert [sample.address for sample in result.kept] == ["DJI_0001.JPG@0,0", "DJI_0001.JPG@2,0"]
    assert result.evicted == ()
    waiting = next_samples(database, 10)
    assert [sample.description.row for sample in waiting] == [2, 0]
    assert [payload(database, s.sample_id) for s in waiting] == [tiles[2].payload, tiles[0].payload]
    assert build.problems(database.connection) == []


def test_judging_again_adds_nothing(database: Database, build: ModuleType) -> None:
    """A batch that comes a second time, in part or whole, makes no second row or sample."""
    survey = build.survey(database)
    tiles = [build.judged(row, keep=row % 2 == 0) for row in range(6)]
    build.commit(database, survey, tiles)
    before = database.connection.execute("SELECT * FROM tile").fetchall()
    key = FrameKey("DJI_0001.JPG", 12, 7)
    row = frame_state(database, survey.survey_id, key)
    assert row is not None
    again = [(row.frame_id, build.frame(), tile) for tile in tiles]
    result = commit_batch(
        database, survey, again, [FrameProgress(row.frame_id, 6, True)], build.WIDE, 2000.0
    )
    assert (result.recorded, result.kept, result.evicted) == (0, (), ())
    assert database.connection.execute("SELECT * FROM tile").fetchall() == before
    assert build.problems(database.connection) == []


def test_a_batch_that_fails_leaves_no_trace(database: Database, build: ModuleType) -> None:
    """A kept tile without pixels in the middle of a batch undoes the tiles before it, too."""
    survey = build.survey(database)
    build.commit(database, survey, [build.judged(0)])
    before = build.counted(database.connection)
    with pytest.raises(ValueError, match="payload"):
        build.commit(database, survey, [build.judged(1), build.judged(2, payload=b"")])
    assert build.counted(database.connection) == before
    assert build.problems(database.connection) == []
    words = database.connection.execute("SELECT text FROM word").fetchall()
    build.commit(database, survey, [build.judged(3, reason="score:new")])
    assert len(database.connection.execute("SELECT text FROM word").fetchall()) == len(words) + 1


def test_sample_ids_follow_from_what_is_shown(database: Database, build: ModuleType) -> None:
    """The id depends on survey, file, place and bundle, and on nothing of this device or run."""
    survey = build.survey(database)
    (sample,) = build.commit(database, survey, [build.judged(5, 7)]).kept
    expected = sample_uuid("north field", ("DJI_0001.JPG", 12, 7), 5, 7, bytes(32))
    assert sample.sample_id == expected.hex
    others = {
        sample_uuid("south field", ("DJI_0001.JPG", 12, 7), 5, 7, bytes(32)),
        sample_uuid("north field", ("DJI_0001.JPG", 12, 8), 5, 7, bytes(32)),
        sample_uuid("north field", ("DJI_0001.JPG", 12, 7), 7, 5, bytes(32)),
        sample_uuid("north field", ("DJI_0001.JPG", 12, 7), 5, 7, bytes(31) + b"\1"),
    }
    assert len(others | {expected}) == 5


def test_order_survives_a_restart(path: Path, build: ModuleType) -> None:
    """(boot, sequence) grows from batch to batch and from start to start."""
    seen = []
    for row in range(3):
        with open_database(path) as database:
            survey = build.survey(database)
            build.commit(database, survey, [build.judged(2 * row), build.judged(2 * row + 1)])
            seen = [
                (s.description.boot, s.description.sequence) for s in next_samples(database, 99)
            ]
    assert sorted(seen) == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]


def test_frames_go_on_where_they_stood(database: Database, build: ModuleType) -> None:
    """An open frame resumes, a finished or failed one is done, another file is a new frame."""
    survey = build.survey(database)
    build.commit(database, survey, [build.judged(0), build.judged(1)], tile_count=4)
    key = FrameKey("DJI_0001.JPG", 12, 7)
    row = frame_state(database, survey.survey_id, key)
    assert row is not None
    assert (row.tiles_done, row.finished, row.failed) == (2, False, False)
    build.commit(database, survey, [build.judged(2)], tile_count=4, finished=True)
    row = frame_state(database, survey.survey_id, key)
    assert row is not None
    assert (row.tiles_done, row.finished, row.failed) == (3, True, False)
    bad = FrameKey("bad.tif", 10, 7)
    for _ in range(2):
        fail_frame(database, survey.survey_id, bad, "truncated", "ends after 10 bytes", 5.0)
    row = frame_state(database, survey.survey_id, bad)
    assert row is not None
    assert (row.finished, row.failed) == (True, True)
    assert frame_state(database, survey.survey_id, FrameKey("bad.tif", 11, 7)) is None
    assert build.problems(database.connection) == []


def test_a_frame_that_fails_half_way_keeps_its_tiles(database: Database, build: ModuleType) -> None:
    """What was committed of a truncated frame stays, and no later batch opens it again."""
    survey = build.survey(database)
    build.commit(database, survey, [build.judged(0)])
    key = FrameKey("DJI_0001.JPG", 12, 7)
    fail_frame(database, survey.survey_id, key, "truncated", "cut short", 5.0)
    row = begin_frame(database, survey.survey_id, key, build.frame(), 10_000, 6.0)
    assert (row.tiles_done, row.failed) == (1, True)
    assert len(next_samples(database, 9)) == 1
    assert build.problems(database.connection) == []


def test_another_tiling_starts_the_frame_again(database: Database, build: ModuleType) -> None:
    """With another tile count the places differ, so counting tiles done would skip ground."""
    survey = build.survey(database)
    build.commit(database, survey, [build.judged(0), build.judged(1)], tile_count=4)
    key = FrameKey("DJI_0001.JPG", 12, 7)
    assert begin_frame(database, survey.survey_id, key, build.frame(), 9, 6.0).tiles_done == 0


def test_another_policy_is_another_run_of_the_survey(database: Database, build: ModuleType) -> None:
    """The outbox and what was finished are untouched by a new policy or bundle."""
    first = build.survey(database)
    build.commit(database, first, [build.judged(0)], finished=True)
    second = build.survey(database, policy="fedcba", bundle="scenes@2")
    assert second.survey_id == first.survey_id
    assert (second.run_id != first.run_id, second.earlier_runs) == (True, 1)
    assert len(next_samples(database, 9)) == 1
    row = frame_state(database, second.survey_id, FrameKey("DJI_0001.JPG", 12, 7))
    assert row is not None
    assert row.finished
    assert build.survey(database).run_id == first.run_id


def test_names_that_are_no_text_are_kept(database: Database, build: ModuleType) -> None:
    """A file name with bytes that are not UTF-8 is recorded, found again and described."""
    survey = build.survey(database)
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    build.commit(database, survey, [build.judged(0)], name=name, finished=True)
    assert frame_state(database, survey.survey_id, FrameKey(name, len(name), 7)) is not None
    assert next_samples(database, 1)[0].description.frame == "caf\\udce9.jpg"


def test_memory_knows_all_kept_but_the_evicted(database: Database, build: ModuleType) -> None:
    """Novelty's memory gets kept tiles, sent ones too, oldest first, the last `limit` of them."""
    survey = build.survey(database)
    caps = Caps(outbox_max_bytes=3000)
    tiles = [build.judged(row, value=0.1 * row, size=1000) for row in range(4)]
    result = build.commit(database, survey, [*tiles, build.judged(9, keep=False)], caps=caps)
    assert result.evicted_addresses == ["DJI_0001.JPG@0,0"]
    known = list(kept_hashes(database))
    assert known == [
        (f"DJI_0001.JPG@{row},0", tiles[row].content_sha256, tiles[row].perceptual_hash)
        for row in (1, 2, 3)
    ]
    assert list(kept_hashes(database, 2)) == known[1:]


def test_numbers_of_starts_only_grow(database: Database) -> None:
    """Each start gets the next number."""
    assert [start_boot(database) for _ in range(3)] == [1, 2, 3]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), outbox=st.integers(1, 20_000), per_survey=st.integers(0, 20_000))
def test_caps_hold_to_the_byte(build: ModuleType, seed: int, outbox: int, per_survey: int) -> None:
    """Whatever comes, neither cap is exceeded by a byte, and nothing is lost from the ledger."""
    rng = random.Random(seed)
    caps = Caps(outbox, per_survey)
    with open_database_in_memory() as database:
        survey = build.survey(database)
        for batch in range(4):
            build.commit(database, survey, build.random_tiles(rng, batch * 10, 10), caps=caps)
            waiting = database.connection.execute("SELECT sum(length(data)) FROM payload")
            assert (waiting.fetchone()[0] or 0) <= outbox
            kept = database.connection.execute("SELECT bytes FROM survey").fetchone()[0]
            assert kept <= (per_survey or kept)
        assert build.problems(database.connection) == []


def open_database_in_memory() -> Database:
    """The same schema without the disk: hypothesis opens hundreds."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    migrate(connection, Path(":memory:"))
    return Database(Path(":memory:"), connection, None)
