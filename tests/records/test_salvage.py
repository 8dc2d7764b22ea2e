"""What comes along from a damaged file: every sample that can still be read whole."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from types import ModuleType

import pytest

from edge_agent.records import outbox
from edge_agent.records.counters import add
from edge_agent.records.database import open_database
from edge_agent.records.ledger import last_events, record_event
from edge_agent.records.lookup import find_tile
from edge_agent.records.memory import kept_hashes
from edge_agent.records.values import Caps
from sync_protocol.messages import Settlement


def fill(path: Path, build: ModuleType) -> dict[str, bytes]:
    """Fifty samples, one sent, one set aside, skipped tiles between; id -> pixels waiting."""
    with open_database(path) as database:
        survey = build.survey(database)
        tiles = [build.judged(row, keep=row % 3 == 0, size=6000) for row in range(150)]
        kept = build.commit(database, survey, tiles, finished=True).kept
        outbox.settle(database, [Settlement(sample_id=kept[0].sample_id, outcome="stored")], 2.0)
        outbox.quarantine(database, kept[1].sample_id, "three strikes")
        return {
            sample.sample_id: tiles[3 * number].payload
            for number, sample in enumerate(kept)
            if number > 0
        }


def pages_of(path: Path, table: str) -> list[int]:
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT pageno FROM dbstat WHERE name = ? AND pagetype <> 'internal'", (table,)
    ).fetchall()
    connection.close()
    return [number for (number,) in rows]


@pytest.mark.parametrize("table", ["payload", "outbox", "tile_place", "outbox_waiting", "event"])
@pytest.mark.parametrize("seed", [1, 2])
def test_one_damaged_page_costs_no_more_than_what_is_on_it(
    path: Path, build: ModuleType, table: str, seed: int
) -> None:
    """Every other sample waits as before, byte for byte; sent ones are remembered."""
    before = fill(path, build)
    rng = random.Random(seed)
    page = rng.choice(pages_of(path, table))
    build.damaged(path, (page - 1) * 4096, rng.randbytes(4096))
    with open_database(path) as database:
        saved = {
            sample_id: outbox.payload(database, sample_id)
            for waits in (True, False)
            for sample_id in outbox.sample_ids(database, quarantined=waits)
        }
        lost = {"payload": 4, "outbox": 4}.get(table, 0)
        assert len(saved) >= len(before) - lost
        assert saved == {sample_id: before[sample_id] for sample_id in saved}
        assert f"{len(saved)} samples were saved" in last_events(database)[0].message
        problems = build.problems(database.connection)
        assert [p for p in problems if not p.startswith("frame ")] == []
        assert len(list(kept_hashes(database))) == len(saved) + 1


def test_the_filter_goes_on_after_the_damage(path: Path, build: ModuleType) -> None:
    """Frames are judged again; salvaged tiles are recorded once, ids and sequence go on."""
    before = fill(path, build)
    (page,) = pages_of(path, "event")
    build.damaged(path, (page - 1) * 4096, b"\xff" * 4096)
    with open_database(path) as database:
        survey = build.survey(database)
        tiles = [build.judged(row, keep=row % 3 == 0, size=6000) for row in range(150)]
        result = build.commit(database, survey, tiles, finished=True)
        assert (result.recorded, len(result.kept)) == (100, 0)
        assert build.problems(database.connection) == []
        assert outbox.statistics(database).waiting + 1 == len(before)
        record = find_tile(database, next(iter(before)))
        assert record.columns["delivery"] == "quarantined"
        (new,) = build.commit(database, survey, [build.judged(999, value=1.0)]).kept
        assert outbox.queued_sample(database, new.sample_id).description.sequence == 51


@pytest.mark.parametrize("created", [False, True])
def test_a_rescue_cut_short_is_taken_up_again(path: Path, build: ModuleType, created: bool) -> None:
    """Killed between moving the file and filling the new one: the next start saves samples."""
    before = fill(path, build)
    path.rename(path.with_name("edge.db.corrupt-1"))
    if created:
        open_database(path).close()
    path.with_name("edge.db.suspect").touch()
    with open_database(path) as database:
        assert outbox.statistics(database).waiting + 1 == len(before)
        assert build.survey(database).boot == 2
    with open_database(path) as database:
        assert outbox.statistics(database).waiting + 1 == len(before)


def test_a_rescue_into_a_smaller_file_saves_the_best(path: Path, build: ModuleType) -> None:
    """Where the hard stop leaves no room for all, the most valuable come along."""
    with open_database(path) as database:
        survey = build.survey(database)
        tiles = [build.judged(row, value=(row * 37 % 100) / 100, size=20_000) for row in range(100)]
        build.commit(database, survey, tiles, finished=True)
    (page,) = pages_of(path, "event")
    build.damaged(path, (page - 1) * 4096, b"\xff" * 4096)
    for _ in range(2):
        with open_database(path, max_bytes=1_000_000) as database:
            rows = [s.description.row for s in outbox.next_samples(database, 999)]
            assert 20 < len(rows) < 50
            assert rows == sorted(range(100), key=lambda row: -(row * 37 % 100))[: len(rows)]
            (event,) = [e for e in last_events(database) if e.kind == "corrupt"]
            assert (
                f"{len(rows)} samples were saved, {100 - len(rows)} found no room" in event.message
            )
            problems = build.problems(database.connection)
            assert [p for p in problems if not p.startswith("frame ")] == []
    with open_database(path, max_bytes=1_000_000) as database:
        survey = build.survey(database)
        (new,) = build.commit(database, survey, [build.judged(500, value=1.0, size=20_000)]).kept
        assert outbox.payload(database, new.sample_id) is not None
    assert path.with_name("edge.db.corrupt-1").exists()
    assert not path.with_name("edge.db.corrupt-2").exists()


def test_a_rescue_killed_between_two_batches_is_finished(path: Path, build: ModuleType) -> None:
    """What has come along is brought no second time, what has not comes now."""
    before = fill(path, build)
    (page,) = pages_of(path, "event")
    build.damaged(path, (page - 1) * 4096, b"\xff" * 4096)
    with open_database(path) as database:
        whole = build.counted(database.connection)
        with database.writing() as connection:  # as if the last batches were still to come
            connection.execute("DELETE FROM event")
            connection.execute("INSERT INTO counter VALUES (0, 'rescue', 1)")
            going = connection.execute(
                "SELECT tile_id, size FROM outbox WHERE quarantined = 0 ORDER BY tile_id LIMIT 9"
            ).fetchall()
            for tile_id, size in going:
                connection.execute("DELETE FROM outbox WHERE tile_id = ?", (tile_id,))
                connection.execute("DELETE FROM tile WHERE id = ?", (tile_id,))
                connection.execute("UPDATE survey SET bytes = bytes - ?", (size,))
                for scope, names in ((0, ("outbox_rows",)), (1, ("tiles_seen", "tiles_kept",
                                     "kept:score:entropy", "delivery:queued"))):  # fmt: skip
                    for name in names:
                        add(connection, scope, {name: -1})
                add(connection, 0, {"outbox_bytes": -size})
                add(connection, 1, {"payload_bytes_kept": -size, "payload_bytes_waiting": -size})
    path.with_name("edge.db.suspect").touch()
    with open_database(path) as database:
        assert build.counted(database.connection) == whole
        assert outbox.statistics(database).waiting + 1 == len(before)
        assert f"{len(before)} samples were saved" in last_events(database)[0].message
        problems = build.problems(database.connection)
        assert [p for p in problems if not p.startswith("frame ")] == []


def test_what_the_ledger_forgot_is_known_after_a_rescue(path: Path, build: ModuleType) -> None:
    """Hashes of tiles whose rows are gone come along, in their order."""
    caps = Caps(2**40, 0, 10_000)
    with open_database(path) as database:
        survey = build.survey(database)
        for start in range(0, 100, 10):
            batch = [build.judged(row, size=50) for row in range(start, start + 10)]
            kept = build.commit(database, survey, batch, caps=caps).kept
            done = [Settlement(sample_id=one.sample_id, outcome="stored") for one in kept]
            outbox.settle(database, done, 5.0)
        build.commit(database, survey, [build.judged(500)], caps=caps)
        before = list(kept_hashes(database))
        record_event(database, "test", "has a page", 6.0)
    (page,) = pages_of(path, "event")
    build.damaged(path, (page - 1) * 4096, b"\xff" * 4096)
    with open_database(path) as database:
        assert list(kept_hashes(database)) == before
        assert len(before) == 101
        assert database.connection.execute("SELECT count(*) FROM memory").fetchone()[0] > 30
