"""The store: blobs that are whole or absent, a schema that can be upgraded, bounded quarantine."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from operations.errors import OperatorError
from server_sync.domain import Picture, SampleKey
from server_sync.store import devices, pictures, quarantine
from server_sync.store.blobs import BlobFolder
from server_sync.store.metadata import migrate, open_metadata
from server_sync.store.schema import metadata as schema
from server_sync.store.schema import samples
from sync_protocol import messages as m


@pytest.fixture
def store(tmp_path):
    opened = open_metadata(f"sqlite:///{tmp_path}/curation.db")
    yield opened
    opened.close()


def test_a_blob_is_found_by_its_hash_and_kept_once(tmp_path):
    """The same bytes twice are one file; what was never put is a KeyError, as is a bad name."""
    blobs = BlobFolder(tmp_path)
    name = blobs.put(b"pixels")
    assert name == blobs.put(b"pixels") == hashlib.sha256(b"pixels").hexdigest()
    blobs.flush()
    assert name == blobs.put(b"pixels")
    blobs.flush()
    assert blobs.get(name) == b"pixels"
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"pixels"]
    for absent in ("0" * 64, "../../etc/passwd", ""):
        with pytest.raises(KeyError):
            blobs.get(absent)


def test_a_blob_of_the_wrong_length_is_written_again(tmp_path):
    """A file cut short by a failing disk is mended by the next put of the same bytes."""
    blobs = BlobFolder(tmp_path)
    name = blobs.put(b"pixels")
    blobs.flush()
    (tmp_path / name[:2] / name[2:]).write_bytes(b"pix")
    blobs.put(b"pixels")
    blobs.flush()
    assert blobs.get(name) == b"pixels"


def test_a_staged_blob_is_not_visible_until_it_is_flushed(tmp_path):
    """Staged bytes have no name; a discard leaves nothing of them, a flush all of them."""
    blobs = BlobFolder(tmp_path)
    first = blobs.put(b"first")
    with pytest.raises(KeyError):
        blobs.get(first)
    assert blobs.has(first)
    blobs.discard()
    assert not blobs.has(first)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    names = [blobs.put(b"second"), blobs.put(b"third")]
    blobs.flush()
    assert [BlobFolder(tmp_path).get(name) for name in names] == [b"second", b"third"]


TRACED = r"""
import os, pathlib, sys
from server_sync.store.blobs import BlobFolder
root = pathlib.Path(sys.argv[1])
blobs = BlobFolder(root)
fsync, rename = os.fsync, pathlib.Path.replace
def synced(handle):
    fsync(handle)
    os.write(1, b"sync " + os.readlink(b"/proc/self/fd/%d" % handle) + b"\n")
def renamed(path, target):
    os.write(1, f"name {path} {target}\n".encode())
    return rename(path, target)
os.fsync, pathlib.Path.replace = synced, renamed
for number in range(40):
    blobs.put(b"%d" % number)
blobs.flush()
os.write(1, b"done\n")
"""


def test_names_come_after_bytes_and_each_folder_is_synced_once(tmp_path):
    """40 blobs in one flush: each file is synced before any name, the names of new folders too;
    then each folder once, and all that before `flush` returns."""
    done = subprocess.run(
        [sys.executable, "-c", TRACED, str(tmp_path)], check=True, capture_output=True, text=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    names = [number for number, line in enumerate(lines) if line[0] == "name"]
    before, after = lines[: names[0]], lines[names[-1] + 1 :]
    assert len(names) == 40
    assert sorted(line[1] for line in before) == sorted(
        [str(tmp_path), *(lines[number][1] for number in names)]
    )
    folders = {lines[number][2].rsplit("/", 1)[0] for number in names}
    assert sorted(line[1] for line in after[:-1]) == sorted(folders)
    assert after[-1] == ["done"]


DIES = """
import os, pathlib, signal, sys
from server_sync.store.blobs import BlobFolder
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
blobs = BlobFolder(pathlib.Path(sys.argv[1]))
blobs.put(b"pixels" * 1000)
blobs.flush()
"""


def test_a_crash_before_the_rename_leaves_no_visible_blob(tmp_path):
    """A process killed between temporary file and name: no blob is there, the rest is swept."""
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False)
    assert done.returncode == -9
    blobs = BlobFolder(tmp_path)
    with pytest.raises(KeyError):
        blobs.get(hashlib.sha256(b"pixels" * 1000).hexdigest())
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == 1
    made = left[0].stat().st_mtime
    assert blobs.sweep(made + 10) == 0
    assert blobs.sweep(made + 7200) == 1
    blobs.put(b"pixels" * 1000)
    blobs.flush()
    assert blobs.get(hashlib.sha256(b"pixels" * 1000).hexdigest()) == b"pixels" * 1000


def test_the_migrations_build_the_tables_of_the_code(store):
    """A fresh database at the last revision differs in nothing from `schema`."""
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema) == []


def test_an_old_store_is_upgraded_and_keeps_its_samples(tmp_path):
    """A database at the first revision, with a row, opens at the last revision with that row."""
    url = f"sqlite:///{tmp_path}/old.db"
    engine = create_engine(url)
    with engine.begin() as connection:
        migrate(connection, "0001")
        connection.execute(text("INSERT INTO counters (name, value) VALUES ('messages', 41)"))
    engine.dispose()
    opened = open_metadata(url)
    with opened.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema) == []
        assert connection.execute(text("SELECT value FROM counters")).scalar_one() == 41
    opened.close()


def test_a_store_of_a_newer_version_is_refused_with_a_hint(tmp_path):
    """An unknown revision stops the start and names the remedy; nothing is changed."""
    url = f"sqlite:///{tmp_path}/new.db"
    open_metadata(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(OperatorError, match="newer version"):
        open_metadata(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "name a file"),
        ("no url", "cannot open the store"),
        ("postgresql+nodriver://host/db", "cannot open the store"),
    ],
)
def test_a_url_that_does_not_hold_is_refused(url, words):
    """Bad URLs end as one operator error, not as a traceback."""
    with pytest.raises(OperatorError, match=words):
        open_metadata(url)


def test_a_password_in_a_url_is_not_shown(tmp_path):
    """Error messages end up in logs."""
    with pytest.raises(OperatorError) as caught:
        open_metadata("postgresql+nodriver://base:hidden@host/db")
    assert "hidden" not in str(caught.value)


def test_reading_commands_create_nothing(tmp_path):
    """A missing store is an error for those who only look."""
    with pytest.raises(OperatorError, match="no such file"):
        open_metadata(f"sqlite:///{tmp_path}/absent.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_who_only_looks_writes_nothing_and_waits_for_nobody(tmp_path):
    """While another holds the write lock a reader opens and reads; a write through it fails."""
    url = f"sqlite:///{tmp_path}/curation.db"
    writer = open_metadata(url)
    with writer.writing() as connection:
        connection.execute(text("INSERT INTO counters (name, value) VALUES ('messages', 1)"))
        reader = open_metadata(url, create=False)
        with reader.reading() as looking:
            assert looking.execute(text("SELECT count(*) FROM counters")).scalar_one() == 0
    with pytest.raises(OperationalError, match="readonly"), reader.reading() as looking:
        looking.execute(text("DELETE FROM counters"))
    with reader.reading() as looking:
        assert looking.execute(text("SELECT value FROM counters")).scalar_one() == 1
    reader.close()
    writer.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "newer version"),
        ("DELETE FROM alembic_version", "serve` once"),
    ],
)
def test_who_only_looks_is_told_of_another_version(tmp_path, statement, words):
    """A store of another version is refused with what to do, and left as it is."""
    url = f"sqlite:///{tmp_path}/curation.db"
    open_metadata(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    with pytest.raises(OperatorError, match=words):
        open_metadata(url, create=False)
    with engine.begin() as connection:
        left = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    engine.dispose()
    assert left == (["9999"] if "9999" in statement else [])


def test_the_database_is_durable_at_each_commit(store):
    """WAL with synchronous=FULL (2): a receipt is never ahead of the disk."""
    with store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


@pytest.mark.parametrize("bits", [-1, 0, 3, 4, 7, 8, 10])
def test_look_alikes_agree_with_comparing_all(store, bits):
    """The banded search finds what a comparison with every held picture finds."""
    chance = random.Random(4)
    base = [chance.getrandbits(64) for _ in range(40)]
    held = {}
    with store.writing() as connection:
        for number, phash in enumerate(base):
            key = SampleKey("drone", f"{number:032x}")
            held[key] = phash
            pictures.add(
                connection, key, f"{number:064x}", 1, Picture("image/png", 1, 1),
                "even" if number % 2 == 0 else "odd", f"{phash:016x}", 0,
            )  # fmt: skip
    with store.reading() as connection:
        for _ in range(120):
            flips = chance.sample(range(64), chance.randint(0, 12))
            asked = chance.choice(base) ^ sum(1 << flip for flip in flips)
            survey = chance.choice([None, "even"])
            found = pictures.alike(connection, asked.to_bytes(8, "big"), bits, survey)
            near = [
                ((asked ^ phash).bit_count(), key)
                for key, phash in held.items()
                if survey is None or int(key.sample_id, 16) % 2 == 0
            ]
            best = min((pair for pair in near if pair[0] <= bits), default=None)
            assert (None if found is None else (found.bits, found.key)) == best


def test_quarantine_keeps_the_newest_within_both_caps(store):
    """Neither more rows nor more bytes than allowed, the oldest gone first."""
    cap = quarantine.Cap(rows=5, total_bytes=900)
    with store.writing() as connection:
        for number in range(20):
            quarantine.add(connection, f"topic/{number}", b"x" * 200, "bad", number, cap)
        rows = connection.execute(select(schema.tables["quarantine"].c.topic)).scalars().all()
        assert rows == ["topic/16", "topic/17", "topic/18", "topic/19"]
        quarantine.add(connection, "a\0b", b"y" * 10_000, "bad\0", 20, cap)
        last = connection.execute(
            select(schema.tables["quarantine"]).order_by(text("id desc")).limit(1)
        ).one()
    assert (last.size, len(last.head)) == (10_000, 512)
    assert "\0" not in last.topic + last.error


def test_a_late_will_does_not_take_a_device_offline(store):
    """A last will of an older connection comes after the new birth: the device stays online."""
    with store.writing() as connection:
        for online, birth in ((True, 7), (False, 6)):
            message = m.Presence(online=online, birth=birth, agent_version="1")
            devices.presence(connection, "drone", message, 1000)
        table = schema.tables["devices"]
        assert connection.execute(select(table.c.online)).scalar_one() is True
        will = m.Presence(online=False, birth=7, agent_version="1")
        devices.presence(connection, "drone", will, 2000)
        row = connection.execute(select(table)).one()
    assert (row.online, row.seen_ms) == (False, 1000)


def test_a_failed_transaction_leaves_nothing(store):
    """All of a batch or none of it."""
    row = insert(schema.tables["counters"]).values(name="a", value=1)
    with pytest.raises(IntegrityError), store.writing() as connection:
        [connection.execute(row) for _ in range(2)]
    with store.reading() as connection:
        assert connection.execute(select(schema.tables["counters"])).all() == []
        assert connection.execute(select(samples)).all() == []
