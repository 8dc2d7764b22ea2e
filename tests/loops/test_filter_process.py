"""The filter as a process: how it ends, whatever ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

AGENT = Path(sys.executable).parent / "edge-agent"


def picture(path: Path, seed: int, side: int = 96) -> None:
    """A frame of noise, written in one go."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    partial = path.with_name(f".{path.name}.part")
    Image.fromarray(pixels).save(partial, "PNG")
    partial.rename(path)


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """Two small frames."""
    folder = tmp_path / "flight.2024.05.01"
    folder.mkdir()
    for number in range(2):
        picture(folder / f"f{number}.png", number)
    return folder


@pytest.fixture
def start(
    tiny_bundle: Callable[..., Path], tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `edge-agent filter` on the tiny bundle; none is left running."""
    bundle = tiny_bundle()
    started = []

    def run(imagery: Path, *flags: str) -> subprocess.Popen[str]:
        command = [AGENT, "filter", imagery, "--bundle", bundle, "--database", tmp_path / "edge.db"]
        process = subprocess.Popen(
            [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_done_is_0_and_names_the_survey_after_the_whole_folder_name(
    start: Callable[..., subprocess.Popen[str]], flight: Path
) -> None:
    """A clean run ends with 0; dots in the folder's name stay."""
    process = start(flight, "--json")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert '"survey":"flight.2024.05.01"' in output


def test_a_bad_frame_makes_it_5_now_and_next_time(
    start: Callable[..., subprocess.Popen[str]], flight: Path
) -> None:
    """Some input failed is 5, also for the run that only finds it failed before."""
    (flight / "bad.jpg").write_bytes(b"no picture")
    for _ in range(2):
        process = start(flight)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 5, errors
        assert "failed" in output


def test_stopped_before_the_end_is_6(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """SIGTERM in the middle ends in good order with 6; a second run goes on to 0."""
    folder = tmp_path / "long"
    folder.mkdir()
    for number in range(6):
        picture(folder / f"f{number}.png", number, side=2048)
    process = start(folder)
    wait_for_tiles(tmp_path / "edge.db", 200)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 6, errors
    again = start(folder)
    _, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors


@pytest.mark.parametrize("after", ["idle", "at work"])
def test_damage_to_the_records_ends_a_watch_with_a_message(
    start: Callable[..., subprocess.Popen[str]], flight: Path, tmp_path: Path, after: str
) -> None:
    """An error while the reader waits for files ends the process; it never hangs in silence."""
    process = start(flight, "--watch")
    wait_for_tiles(tmp_path / "edge.db", 18)
    for name in ("edge.db", "edge.db-wal"):
        path = tmp_path / name
        if path.exists():
            # All of it: most pages at the log's front stand anew further on, and those are read.
            with path.open("r+b") as file:
                file.write(b"damage " * (path.stat().st_size // 7))
    picture(flight / "f9.png", 9)
    if after == "at work":
        picture(flight / "f8.png", 8)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert "edge.db" in errors
    assert "Traceback" not in errors


def wait_for_tiles(database: Path, count: int) -> None:
    """Until the ledger holds so many verdicts."""
    import sqlite3
    from contextlib import closing

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
                if connection.execute("select count(*) from tile").fetchone()[0] >= count:
                    return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.05)
    raise AssertionError("no verdicts came")
