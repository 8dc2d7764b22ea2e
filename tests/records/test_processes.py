"""Real processes at one database: killed at any moment, and working at the same time."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from edge_agent.records import outbox
from edge_agent.records.database import open_database

HERE = Path(__file__).parent
KILLS = 25
FORGETFUL = ("frame ", "counters ", "survey bytes")


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that has its database open."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL; it must have been at work until then."""
    assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()


def sound(path: Path, build: ModuleType) -> dict[tuple[int, str], int]:
    """Check everything that must hold; the counters."""
    with open_database(path) as database:
        problems = build.problems(database.connection)
        # Forgotten rows leave progress, counters and what surveys have spent as they were.
        rotated = database.connection.execute(
            "SELECT value FROM counter WHERE name = 'ledger_rotated'"
        ).fetchone()
        if rotated and rotated[0]:
            problems = [p for p in problems if not p.startswith(FORGETFUL)]
        assert problems == []
        return build.counted(database.connection)


@pytest.mark.parametrize(("seed", "cap"), [(1, 2**40), (2, 20_000)])
def test_killed_at_any_moment_nothing_committed_is_lost(
    path: Path, build: ModuleType, seed: int, cap: int
) -> None:
    """After each SIGKILL the file is sound, counters equal a recount, progress equals rows."""
    rng = random.Random(seed)
    seen = 0
    for _ in range(KILLS // 2):
        process = start("writer.py", path, seed, cap)
        time.sleep(rng.uniform(0.0, 0.15))
        kill(process)
        counters = sound(path, build)
        now = counters.get((1, "tiles_seen"), 0)
        assert now >= seen
        seen = now
    assert seen > 100


def test_filter_and_sync_at_work_together(path: Path, build: ModuleType) -> None:
    """One writes and evicts, one sends and settles, both are killed, and the books balance."""
    rng = random.Random(3)
    for number in range(5):
        processes = [
            start("writer.py", path, 9, 50_000),
            start("settler.py", path, number),
        ]
        time.sleep(rng.uniform(0.3, 0.6))
        rng.shuffle(processes)
        for process in processes:
            kill(process)
        counters = sound(path, build)
    assert counters[1, "delivery:stored"] > 0
    assert counters[1, "delivery:skipped"] > 0
    with open_database(path) as database:
        for sample in outbox.next_samples(database, 10_000):
            assert len(outbox.payload(database, sample.sample_id) or b"") == sample.payload_size
