"""The demo removes nothing but what a demo made, and ends with all of its processes."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.folder import MARKER, PRODUCTS, output_folder
from operations.errors import OperatorError

BUNDLE = Path("models/rehearsal")


def walk_in(out: Path, flight: Path | None = None) -> None:
    """A walk that makes each product with one file in it, and leaves the base's usual litter."""
    with output_folder(out, flight, BUNDLE):
        for name in ("survey", "store"):
            (out / name).mkdir(exist_ok=True)
            (out / name / "made").touch()
        for end in ("", "-wal", "-shm", ".lock", ".sync-lock", ".suspect", ".corrupt-1"):
            (out / f"edge.db{end}").touch()
        (out / "report.json").touch()


def names(folder: Path) -> set[str]:
    """All that lies in a folder."""
    return {path.name for path in folder.iterdir()}


def test_a_second_walk_starts_from_nothing_of_the_first(tmp_path: Path) -> None:
    """Every file of an earlier walk goes, a person's own file beside them stays."""
    walk_in(tmp_path)
    (tmp_path / "notes.txt").touch()
    with output_folder(tmp_path, None, BUNDLE):
        assert names(tmp_path) == {MARKER, "notes.txt"}


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_no_walk_made_is_refused_and_stays(name: str, tmp_path: Path) -> None:
    """A person's own `survey`, `store` or file by a product's name is told of and not touched."""
    mine = tmp_path / name
    mine.mkdir()
    (mine / "mine.tif").write_text("mine")
    with pytest.raises(OperatorError, match=name), output_folder(tmp_path, None, BUNDLE):
        pass
    assert (mine / "mine.tif").read_text() == "mine"


def test_a_flight_within_the_walks_own_survey_stays(tmp_path: Path) -> None:
    """FLIGHT=out/survey, or a folder in it, keeps the survey; the next rehearsal replaces it."""
    walk_in(tmp_path)
    with output_folder(tmp_path, tmp_path / "survey", BUNDLE):
        assert names(tmp_path) == {MARKER, "survey"}
        assert names(tmp_path / "survey") == {"made"}
    with output_folder(tmp_path, None, BUNDLE):
        assert names(tmp_path) == {MARKER}


@pytest.mark.parametrize("flight", [".", "store", "store/blobs"])
def test_a_flight_among_what_is_removed_is_refused(flight: str, tmp_path: Path) -> None:
    """A flight that the walk would remove, or that its products lie in, is refused; all stays."""
    walk_in(tmp_path)
    (tmp_path / "store/blobs").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(OperatorError), output_folder(tmp_path, tmp_path / flight, BUNDLE):
        pass
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_output_folder_inside_the_flight_is_refused(tmp_path: Path) -> None:
    """`--flight . --out demo-output` would take the walk's own pictures for frames."""
    with (
        pytest.raises(OperatorError, match="within"),
        output_folder(tmp_path / "out", tmp_path, BUNDLE),
    ):
        pass
    assert names(tmp_path) == set()


def test_a_link_among_the_products_is_removed_and_its_target_stays(tmp_path: Path) -> None:
    """A store moved to another disk and linked back is not emptied through the link."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    walk_in(out)
    (out / "store").rename(elsewhere)
    (out / "store").symlink_to(elsewhere)
    with output_folder(out, None, BUNDLE):
        assert not (out / "store").is_symlink()
    assert names(elsewhere) == {"made"}


def test_a_second_walk_in_the_same_folder_waits_for_nobody(tmp_path: Path, demo: Any) -> None:
    """While one walk is at work a second is refused in words, and removes nothing."""
    walk_in(tmp_path)
    with (tmp_path / MARKER).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = demo("--out", tmp_path, "--tiles", 250)
    assert done.returncode == 3
    assert "another walk is at work" in done.stderr
    assert names(tmp_path) > set(PRODUCTS)


def test_the_rehearsals_survey_is_a_flight_like_any_other(
    walked: tuple[Path, dict[str, Any]], demo: Any
) -> None:
    """FLIGHT=out/survey after a walk gives the same figures, and the survey is still there."""
    out, first = walked
    done = demo("--out", out, "--flight", out / "survey")
    assert done.returncode == 0, done.stderr
    second = json.loads((out / "report.json").read_text())
    same = ("tiles_seen", "kept_by_reason", "skipped_by_reason", "truth", "samples_in_store")
    assert {key: second[key] for key in same} == {key: first[key] for key in same}
    assert (out / "survey/truth.csv").is_file()


@contextmanager
def filtering(repository: Path, out: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[Any]]]:
    """A demo whose filter is at work, and all processes below it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--out", out, "--tiles", "1500"],
        cwd=repository, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (out / "edge.db").exists():
            assert process.poll() is None, "the demo ended before it filtered"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_demo_leaves_no_process(number: int, repository: Path, tmp_path: Path) -> None:
    """Whatever ends it while it filters, filter and server end with it."""
    with filtering(repository, tmp_path / "out") as (process, children):
        assert len(children) >= 2, "filter and server"
        process.send_signal(number)
        code = process.wait(60)
        _, alive = psutil.wait_procs(children, timeout=30)
        for child in alive:
            child.kill()
        assert alive == []
        assert code == (-number if number == signal.SIGKILL else 128 + number)
