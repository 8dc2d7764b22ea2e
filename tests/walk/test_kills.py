"""Filter, sync and server are killed again and again; nothing is lost, nothing comes twice."""

from __future__ import annotations

import hashlib
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

KILLS_EACH = 10
SEED = 20_240_611

EDGE = """
[imagery]
overlap = 0.4
settle_s = 0.0
[inference]
batch_size = 16
[policy]
audit_share = 0.2
[uplink]
backoff_min_s = 0.1
backoff_max_s = 0.5
offer_timeout_s = 2.0
"""
SERVER = """
[intake]
near_duplicate_bits = -1
"""


QUEUED = "select lower(hex(sample_id)), data from outbox join payload using (tile_id)"


def outbox_of(database: Path) -> dict[str, bytes]:
    """Sample id -> payload of every row in the outbox."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(QUEUED).fetchall())


@pytest.fixture(scope="session")
def edge_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings that keep many tiles and lose little time on waiting."""
    path = tmp_path_factory.mktemp("settings") / "edge.toml"
    path.write_text(EDGE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def undisturbed(
    flight: Path, repository: Path, edge_settings: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What the filter keeps of the flight when nobody disturbs it."""
    database = tmp_path_factory.mktemp("undisturbed") / "edge.db"
    command = [str(Path(sys.executable).parent / "edge-agent"), "filter", str(flight)]
    command += ["--bundle", str(repository / "models" / "scenes-aerial"), "--survey", "kills"]
    command += ["--config", str(edge_settings), "--database", str(database)]
    subprocess.run(command, check=True, capture_output=True)
    return outbox_of(database)


def ledger(database: Path, query: str) -> int:
    """One number out of the device's records; 0 before there are any."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return int(connection.execute(query).fetchone()[0] or 0)
    except sqlite3.OperationalError:
        return 0


TILES = "select count(*) from tile"
FINISHED = "select count(*) from frame where state = 'finished'"
SETTLED = "select count(*) from tile where delivery in ('stored', 'duplicate')"


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def kill_at_work(victim: Any, database: Path, query: str, pause_s: float) -> bool:
    """Wait until `query` has grown, which only `victim` makes it do, a moment more, and kill.

    Returns whether it had grown, so that the kill fell into work and not into a start.
    """
    before = ledger(database, query)
    at_work = wait_for(lambda: ledger(database, query) > before, 8.0)
    time.sleep(pause_s)
    victim.kill()
    victim.start()
    return at_work


def test_every_kept_sample_is_stored_exactly_once(
    flight: Path,
    repository: Path,
    edge_settings: Path,
    undisturbed: dict[str, bytes],
    broker: tuple[str, list[str]],
    children: Callable[..., Any],
    run_command: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """After 30 SIGKILLs and a drain the store holds each kept sample once, byte for byte."""
    address, broker_flags = broker
    database, store = tmp_path / "edge.db", tmp_path / "store"
    (tmp_path / "server.toml").write_text(SERVER, encoding="utf-8")
    edge = Path(sys.executable).parent
    common = ["--config", str(edge_settings), "--database", str(database)]
    sync_flags = [*common, "--broker", address, "--device", "drone-1"]
    filter_ = children(
        tmp_path / "filter.log", edge / "edge-agent", "filter", flight, *common,
        "--bundle", repository / "models" / "scenes-aerial", "--survey", "kills", "--watch",
    )  # fmt: skip
    sync = children(tmp_path / "sync.log", edge / "edge-agent", "sync", *sync_flags)
    server = children(
        tmp_path / "server.log", edge / "server-sync", "serve", "--data", store, "--no-web",
        "--config", tmp_path / "server.toml", *broker_flags,
    )  # fmt: skip
    everyone = [filter_, sync, server]
    for child in (server, filter_, sync):
        child.start()

    rng = random.Random(SEED)
    growing = {id(filter_): TILES, id(sync): SETTLED, id(server): SETTLED}
    victims = everyone * KILLS_EACH
    rng.shuffle(victims)
    fell_into_work = sum(
        kill_at_work(victim, database, growing[id(victim)], rng.uniform(0.0, 0.5))
        for victim in victims
    )
    assert [child.kills for child in everyone] == [KILLS_EACH] * 3
    assert fell_into_work >= 2 * KILLS_EACH, "most kills must fall into work"

    frames = len(list(flight.iterdir()))
    assert wait_for(lambda: ledger(database, FINISHED) == frames, 240.0)
    assert filter_.stop() == 0, (tmp_path / "filter.log").read_text(encoding="utf-8")
    sync.stop()
    # Three kills in the middle of sending one sample set it aside, as poison would be; it is
    # not lost, and an operator takes it up again.
    subprocess.run([edge / "edge-agent", "outbox", "retry", "--all", *common], check=True)
    drained = run_command("edge-agent", "sync", "--drain", *sync_flags)
    assert drained["left"] == 0
    samples = run_command("server-sync", "samples", "list", "--limit", "0", "--data", str(store))
    server.stop()

    assert len(undisturbed) > 100
    by_id = {sample["sample"]: sample for sample in samples}
    assert len(by_id) == len(samples)
    assert set(by_id) == set(undisturbed)
    pictures = {path.parent.name + path.name: path for path in (store / "blobs").glob("*/*")}
    for sample_id, payload in undisturbed.items():
        digest = hashlib.sha256(payload).hexdigest()
        assert by_id[sample_id]["outcome"] in ("stored", "duplicate")
        assert by_id[sample_id]["sha256"] == digest
        assert pictures[digest].read_bytes() == payload
    assert outbox_of(database) == {}
