"""The file: set up for durability, refused where it is not ours, moved aside when damaged."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import ModuleType

import pytest

from edge_agent.records.database import Database, open_database
from edge_agent.records.errors import RecordsCorrupt, RecordsError, RecordsUnavailable
from edge_agent.records.ledger import last_events, record_event, start_boot
from edge_agent.records.migrations import schema_files, statements
from edge_agent.records.outbox import next_birth, next_samples
from operations.errors import OperatorError


def test_the_file_is_set_up_for_power_cuts(database: Database) -> None:
    """Write-ahead log, fsync at every commit, space given back, at the newest schema."""
    found = {
        name: database.connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "auto_vacuum", "foreign_keys", "user_version")
    }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "auto_vacuum": 2,
        "foreign_keys": 1,
        "user_version": len(schema_files()),
    }


def test_migrations_are_numbered_without_a_gap() -> None:
    """user_version counts the files, so a gap would skip or repeat one."""
    assert [number for number, _ in schema_files()] == list(range(1, len(schema_files()) + 1))


def test_scripts_are_split_at_statements_only() -> None:
    """A semicolon in a comment, a string or a trigger ends no statement."""
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n SELECT 1;\n SELECT ';';\nEND;\n"
    script = "-- one; two\nCREATE TABLE a (b);\n" + trigger
    assert [s.strip() for s in statements(script)] == [
        "-- one; two\nCREATE TABLE a (b);",
        trigger.strip(),
    ]


def test_many_may_open_a_new_file_at_once(path: Path) -> None:
    """Both daemons start at the same moment on an empty disk: one schema, no error."""
    failures: list[BaseException] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        try:
            with open_database(path) as database:
                start_boot(database)
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with open_database(path) as database:
        assert start_boot(database) == 7


@pytest.mark.parametrize("damage", ["truncated", "odd end", "no header", "holes", "text", "wal"])
def test_a_damaged_file_is_moved_aside(path: Path, build: ModuleType, damage: str) -> None:
    """It is kept under another name, reported, and recording goes on; numbers never restart."""
    births = fill(path, build)
    size = path.stat().st_size
    if damage == "truncated":
        os.truncate(path, size // 2 // 4096 * 4096)
    elif damage == "odd end":
        os.truncate(path, size - 5000)
    elif damage == "no header":
        build.damaged(path, 0, bytes(100))
    elif damage == "holes":
        rng = random.Random(5)
        for _ in range(40):
            build.damaged(path, rng.randrange(4096, size - 200), rng.randbytes(200))
    elif damage == "text":
        path.write_text("not a database at all\n" * 1000)
    else:
        path.with_name(path.name + "-wal").write_bytes(b"left over")
        build.damaged(path, 16, bytes(84))
    before = path.read_bytes()
    with open_database(path) as database:
        assert database.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        (event,) = [e for e in last_events(database) if e.kind == "corrupt"]
        assert "edge.db.corrupt-1" in event.message
        assert next_birth(database) > births
        survey = build.survey(database)
        build.commit(database, survey, [build.judged(0)])
        problems = build.problems(database.connection)
        assert [p for p in problems if not p.startswith("frame ")] == []
    assert path.with_name("edge.db.corrupt-1").read_bytes() == before
    assert not path.with_name("edge.db.suspect").exists()
    with open_database(path) as database:
        assert len(next_samples(database, 9)) >= 1
    assert not path.with_name("edge.db.corrupt-2").exists()


def test_a_second_damaged_file_gets_a_name_of_its_own(path: Path, build: ModuleType) -> None:
    """The first one is never overwritten."""
    for number in (1, 2):
        path.write_text(f"garbage {number}" * 100)
        open_database(path).close()
        kept = path.with_name(f"edge.db.corrupt-{number}")
        assert kept.read_text().startswith(f"garbage {number}")


def test_an_empty_file_is_a_new_database(path: Path) -> None:
    """A file that was created and never written to holds nothing to move aside."""
    path.touch()
    with open_database(path) as database:
        assert start_boot(database) == 1
    assert list(path.parent.glob("*.corrupt-*")) == []


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    """After a downgrade nothing is moved, migrated or lost."""
    with open_database(path) as database:
        database.connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(RecordsError, match="newer") as caught:
            open_database(path, readonly=readonly)
        assert not isinstance(caught.value, RecordsCorrupt)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone(path: Path) -> None:
    """A path given by mistake costs nobody's data."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipe (name)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(RecordsError, match="another program"):
        open_database(path)
    assert path.read_bytes() == before


def test_places_that_cannot_be_are_told_clearly(tmp_path: Path) -> None:
    """A folder, a path through a file, and a file that is not there each get one clear message."""
    with pytest.raises(RecordsError, match="is a folder"):
        open_database(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecordsUnavailable, match="cannot be used"):
        open_database(tmp_path / "file" / "edge.db")
    for readonly in (False, True):
        with pytest.raises(RecordsError, match="no database"):
            open_database(tmp_path / "none.db", create=False, readonly=readonly)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_told_clearly(tmp_path: Path) -> None:
    """A folder that this user may not write in gives a message, not a stack trace."""
    tmp_path.chmod(0o500)
    with pytest.raises(OperatorError, match="cannot be"):
        open_database(tmp_path / "edge.db")


def test_damage_found_by_one_process_makes_the_other_let_go(path: Path, build: ModuleType) -> None:
    """The one that opens asks by a mark; the one at work closes at its next step; both go on."""
    fill(path, build)
    holder = open_database(path)
    build.damaged(path, 4096, bytes(20_000))
    opened: list[Path] = []

    def open_and_close() -> None:
        with open_database(path, wait_s=30) as database:
            opened.append(database.path)

    thread = threading.Thread(target=open_and_close)
    thread.start()
    with pytest.raises(RecordsCorrupt):
        work_until_it_fails(holder)
    holder.close()
    with open_database(path) as again:
        assert again.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    thread.join()
    assert opened == [path]
    assert len(list(path.parent.glob("edge.db.corrupt-?"))) == 1


def test_a_damaged_file_in_use_is_not_moved(path: Path, build: ModuleType) -> None:
    """Moving a file under a running process would lose what it writes: refused, with a hint."""
    fill(path, build)
    script = textwrap.dedent(
        """
        import sys
        from edge_agent.records.database import open_database
        database = open_database(sys.argv[1])
        print("open", flush=True)
        sys.stdin.readline()
        """
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    build.damaged(path, 0, bytes(100))
    with pytest.raises(OperatorError, match="another process has it open"):
        open_database(path, wait_s=0.3)
    assert list(path.parent.glob("*.corrupt-*")) == []
    holder.kill()
    holder.communicate()
    open_database(path).close()
    assert path.with_name("edge.db.corrupt-1").exists()


def test_a_mark_of_damage_without_damage_is_taken_back(path: Path, build: ModuleType) -> None:
    """A process that died after raising the alarm does not cost the database."""
    fill(path, build)
    path.with_name("edge.db.suspect").touch()
    with open_database(path) as database:
        assert len(next_samples(database, 99)) == 20
    assert not path.with_name("edge.db.suspect").exists()


def test_damage_that_cannot_be_marked_is_told_at_once(path: Path, build: ModuleType) -> None:
    """No place for the mark: an error for the operator, not an endless search for a lock."""
    fill(path, build)
    mark = path.with_name("edge.db.suspect")
    mark.symlink_to(path.parent / "nowhere" / "to be")
    build.damaged(path, 0, bytes(100))
    with pytest.raises(RecordsCorrupt):
        open_database(path)
    mark.unlink()
    open_database(path).close()
    assert path.with_name("edge.db.corrupt-1").exists()


def test_space_is_given_back(path: Path, build: ModuleType) -> None:
    """After a large outbox has gone, the file shrinks, some slack apart."""
    with open_database(path) as database:
        survey = build.survey(database)
        tiles = [build.judged(row, size=100_000) for row in range(120)]
        build.commit(database, survey, tiles)
        full = int(database.connection.execute("PRAGMA page_count").fetchone()[0])
        with database.writing() as connection:
            connection.execute("DELETE FROM outbox")
        while database.release_space(500) > 1024:
            pass
        left = int(database.connection.execute("PRAGMA page_count").fetchone()[0])
    assert full > 2900
    assert left < 1300


def test_readers_see_the_records_while_they_are_written(path: Path, build: ModuleType) -> None:
    """A read-only connection neither blocks the writer nor waits for it."""
    with open_database(path) as writer:
        survey = build.survey(writer)
        build.commit(writer, survey, [build.judged(0)])
        with open_database(path, readonly=True) as reader, writer.writing() as connection:
            connection.execute("DELETE FROM outbox")
            assert len(next_samples(reader, 9)) == 1
            with pytest.raises(RecordsUnavailable):
                start_boot(reader)


def work_until_it_fails(database: Database) -> None:
    for _ in range(10_000):
        record_event(database, "test", "still at work", 1.0)


def fill(path: Path, build: ModuleType) -> int:
    """A database with some of everything; its last birth number."""
    with open_database(path) as database:
        survey = build.survey(database)
        build.commit(database, survey, [build.judged(r, size=5000) for r in range(20)])
        build.commit(database, survey, [build.judged(r, keep=False) for r in range(20, 400)])
        return [next_birth(database) for _ in range(5)][-1]
