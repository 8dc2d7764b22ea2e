"""The drift test's memory: in the tiles' transaction, the same after any restart."""

from __future__ import annotations

import dataclasses
import importlib.util
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge_agent.records.database import Database, open_database
from edge_agent.records.drift import KEPT_RUNS, forget_older_runs, read_drift
from edge_agent.records.ledger import last_events
from edge_agent.records.migrations import APPLICATION_ID, schema_files, statements
from edge_agent.records.outbox import next_samples
from edge_agent.records.overview import overview
from edge_agent.records.values import Caps
from edge_agent.scoring.drift import Alarm, DriftState
from edge_agent.scoring.survey_watch import DriftNews

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def drifter() -> ModuleType:
    """The script, which tests also load for what it would do undisturbed."""
    spec = importlib.util.spec_from_file_location("records_drifter", HERE / "drifter.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def news(state: DriftState | None = None, **changes: object) -> DriftNews:
    return DriftNews(state or DriftState(tiles=1), 0.125, **changes)  # type: ignore[arg-type]


def test_what_a_batch_learns_is_there_after_it(database: Database, build: ModuleType) -> None:
    """State, blocks and embeddings come back as they were; another run of the survey has none."""
    survey = build.survey(database)
    state = DriftState(9, 4, ((315, 2), (840, 1)), "a", ())
    vectors = {f"DJI_0001.JPG@{row},0": np.full(4, row, np.float32) for row in (1, 0)}
    tiles = [build.judged(0), build.judged(1)]
    written = news(state, blocks=("0:1:2", "f:ab"), leaders=vectors, leader_capacity=9)
    commit(database, build, survey, tiles, written)
    memory = read_drift(database, survey.run_id)
    assert (memory.state, memory.blocks) == (state, ("0:1:2", "f:ab"))
    assert [address for address, _ in memory.leaders] == list(vectors)
    assert [vector.tolist() for _, vector in memory.leaders] == [[1.0] * 4, [0.0] * 4]
    other = build.survey(database, policy="fedcba")
    assert read_drift(database, other.run_id).state is None


def test_a_batch_that_fails_teaches_nothing(database: Database, build: ModuleType) -> None:
    """A kept tile without payload undoes votes and embeddings along with everything else."""
    survey = build.survey(database)
    commit(database, build, survey, [build.judged(0)], news(blocks=("0:0:0",)))
    bad = dataclasses.replace(build.judged(1), payload=None)
    with pytest.raises(ValueError, match="payload"):
        commit(database, build, survey, [bad], news(DriftState(tiles=99), blocks=("0:0:1",)))
    memory = read_drift(database, survey.run_id)
    assert memory.state == DriftState(tiles=1)
    assert memory.blocks == ("0:0:0",)


def test_an_alarm_is_an_event_of_the_survey(database: Database, build: ModuleType) -> None:
    """Told once, with its time, and shown by the overview from then on."""
    survey = build.survey(database)
    assert overview(database).surveys[0].drift is None
    alarm = Alarm(5, 100, 60, 0.2)
    state = DriftState(100, 60, ((840, 5),), alarm=alarm)
    commit(database, build, survey, [build.judged(0)], news(state, raised=alarm))
    commit(database, build, survey, [build.judged(1)], news(state))
    (event,) = last_events(database)
    assert event.kind == "foreign"
    assert "60 of 100 tiles are strange, by 5 votes at least 20.0%" in event.message
    found = overview(database).surveys[0].drift
    assert found is not None
    assert (found.votes, found.share, found.alarmed_at) == (5, 1.0, 1000.0)
    assert (found.alarm, found.inactive) == (alarm, "")
    assert 0.125 < found.at_least < 1.0


def test_given_up_tiles_are_forgotten(database: Database, build: ModuleType) -> None:
    """A leader whose sample was evicted for want of room is one no more."""
    survey = build.survey(database)
    tiles = [build.judged(row, value=0.1 + row / 10, size=1000) for row in range(3)]
    vectors = {f"DJI_0001.JPG@{row},0": np.ones(2) for row in range(3)}
    written = news(leaders=vectors, leader_capacity=9)
    commit(database, build, survey, tiles, written, Caps(2100))
    kept = [address for address, _ in read_drift(database, survey.run_id).leaders]
    assert kept == ["DJI_0001.JPG@1,0", "DJI_0001.JPG@2,0"]
    commit(database, build, survey, [build.judged(9, value=0.9)], None, Caps(2100))
    kept = [address for address, _ in read_drift(database, survey.run_id).leaders]
    assert kept == ["DJI_0001.JPG@2,0"]


def test_killed_at_any_moment_it_ends_as_if_undisturbed(
    tmp_path: Path, build: ModuleType, drifter: ModuleType
) -> None:
    """However often the process dies, the votes, the alarm and the embeddings are in the end
    those of a run that was never cut short."""
    rng = random.Random(5)
    cut, whole = tmp_path / "cut.db", tmp_path / "whole.db"
    kills = 0
    for _ in range(200):
        process = subprocess.Popen(
            [sys.executable, str(HERE / "drifter.py"), str(cut)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        if kills < 8:
            time.sleep(rng.uniform(0.0, 0.06))
            process.kill()
        _, complaint = process.communicate()
        kills += process.returncode < 0
        if process.returncode == 0:
            break
        assert process.returncode < 0, complaint
    drifter.main(str(whole))
    with open_database(cut) as one, open_database(whole) as other:
        assert build.problems(one.connection) == []
        survey = build.survey(one)
        first, second = (read_drift(d, build.survey(d).run_id) for d in (one, other))
        assert first.state is not None
        assert first.state == second.state
        assert first.blocks == second.blocks
        assert len(first.blocks) == first.state.cast
        assert first.state.alarm is not None
        assert [a for a, _ in first.leaders] == [a for a, _ in second.leaders]
        for (_, mine), (_, yours) in zip(first.leaders, second.leaders, strict=True):
            assert np.array_equal(mine, yours)
        assert [e.kind for e in last_events(one)] == ["foreign"]
        assert survey.earlier_runs == 0
    assert kills >= 3


def test_memory_and_records_agree_when_full(tmp_path: Path, drifter: ModuleType) -> None:
    """The leaders that a restart finds are those that memory had."""
    with open_database(tmp_path / "edge.db") as database:
        survey = drifter.building.survey(database)
        watch, leaders = drifter.resumed(database, survey)
        drifter.judge(database, survey, watch, leaders)
        _, again = drifter.resumed(database, survey)
        everything = np.random.default_rng(0).normal(size=(50, 128))
        assert 0 < len(again) == len(leaders) <= drifter.CAPACITY
        assert np.array_equal(
            again.distance_to_nearest(everything), leaders.distance_to_nearest(everything)
        )


def test_records_of_the_first_version_are_brought_up_to_date(path: Path, build: ModuleType) -> None:
    """A file written before there was a drift test keeps its samples and gains the tables."""
    with open_database(path) as database:
        build.commit(database, build.survey(database), [build.judged(0), build.judged(1)])
        waiting = next_samples(database, 9)
    first = dict(schema_files())[1]
    connection = sqlite3.connect(path, isolation_level=None)
    for table in ("drift", "drift_block", "leader"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute("PRAGMA user_version = 1")
    shape = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    old = sqlite3.connect(":memory:", isolation_level=None)
    for statement in statements(first):
        old.execute(statement)
    assert connection.execute(shape).fetchall() == old.execute(shape).fetchall()
    connection.close()
    with open_database(path) as database:
        assert next_samples(database, 9) == waiting
        assert build.problems(database.connection) == []
        survey = build.survey(database)
        commit(database, build, survey, [build.judged(2)], news(blocks=("0:0:0",)))
        assert read_drift(database, survey.run_id).blocks == ("0:0:0",)
        pragma = "PRAGMA application_id"
        assert database.connection.execute(pragma).fetchone() == (APPLICATION_ID,)


def test_given_up_tiles_of_another_survey_are_forgotten_there(
    database: Database, build: ModuleType
) -> None:
    """Its leader goes, under each policy that knows of it; the twin of the same name here stays."""
    place = "DJI_0001.JPG@0,0"
    leader = {"leaders": {place: np.ones(2)}, "leader_capacity": 9}
    south = build.survey(database, "south field")
    commit(database, build, south, [build.judged(0, value=0.1, size=1000)], news(**leader))
    again = build.survey(database, "south field", policy="fedcba")
    commit(database, build, again, [], news(**leader))
    north = build.survey(database)
    tiles = [build.judged(0, value=0.8, size=1000), build.judged(1, value=0.9, size=1000)]
    commit(database, build, north, tiles, news(**leader), Caps(2100))
    assert read_drift(database, south.run_id).leaders == ()
    assert read_drift(database, again.run_id).leaders == ()
    assert [address for address, _ in read_drift(database, north.run_id).leaders] == [place]


def test_memory_of_runs_is_bounded(database: Database, build: ModuleType) -> None:
    """The latest runs and the one under way keep blocks and embeddings; an older one keeps what
    `status` shows. Taken up again its test starts anew, unless it raised the alarm: blocks that
    nobody remembers must not vote twice."""
    alarm = Alarm(2, 20, 10, 0.4)
    runs = []
    for number in range(KEPT_RUNS + 3):
        survey = build.survey(database, f"survey {number}")
        state = DriftState(9, 4, ((840, 2),), "a", (), alarm if number == 1 else None)
        leaders = {"DJI_0001.JPG@0,0": np.ones(2)}
        written = news(state, blocks=("0:1:2", "f:ab"), leaders=leaders, leader_capacity=9)
        commit(database, build, survey, [build.judged(0)], written)
        runs.append(survey.run_id)
    forget_older_runs(database, runs[2])
    memories = [read_drift(database, run) for run in runs]
    assert [len(memory.blocks) for memory in memories] == [0, 0] + [2] * (KEPT_RUNS + 1)
    assert [len(memory.leaders) for memory in memories] == [0, 0] + [1] * (KEPT_RUNS + 1)
    assert memories[0].state is None
    assert memories[1].state is not None
    assert memories[1].state.alarm == alarm
    assert all(survey.drift is not None for survey in overview(database).surveys)


def test_a_state_that_cannot_be_read_starts_the_test_again(
    database: Database, build: ModuleType
) -> None:
    """Neither the filter nor `status` fails on it; blocks that voted still have no second vote."""
    survey = build.survey(database)
    commit(database, build, survey, [build.judged(0)], news(blocks=("0:0:0",)))
    database.connection.execute('UPDATE drift SET state = \'{"tiles": "many"}\'')
    memory = read_drift(database, survey.run_id)
    assert (memory.state, memory.blocks) == (None, ("0:0:0",))
    assert overview(database).surveys[0].drift is None


def commit(
    database: Database,
    build: ModuleType,
    survey: object,
    tiles: list[object],
    written: DriftNews | None,
    caps: Caps | None = None,
) -> None:
    build.commit(database, survey, tiles, caps=caps or build.WIDE, drift=written)
