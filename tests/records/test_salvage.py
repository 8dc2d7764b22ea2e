"""What comes along from a damaged file: every sample that can still be read whole."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from types import ModuleType

import pytest

from edge_agent.records import outbox
from edge_agent.records.database import open_database
from edge_agent.records.ledger import last_events
from edge_agent.records.lookup import find_tile
from edge_agent.records.memory import kept_hashes
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
