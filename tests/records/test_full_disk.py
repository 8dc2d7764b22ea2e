"""A disk that is really full: a small one of memory, mounted in a namespace of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def on_a_small_disk(folder: Path, megabytes: int, command: list[str]) -> str:
    """Run a command with a small disk at `folder`; its output."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not there to mount a small disk with")
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs "$0"'
    if subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, str(folder)], capture_output=True, check=False
    ).returncode:
        pytest.skip("this user may not mount a small disk")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', str(folder), *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_costs_the_least_valuable_only(tmp_path: Path) -> None:
    """The filter goes on beyond the disk's size, the best samples wait, the books balance."""
    script = HERE / "disk_filler.py"
    report = json.loads(
        on_a_small_disk(tmp_path, 48, [sys.executable, str(script), str(tmp_path / "edge.db")])
    )
    assert report["problems"] == []
    assert report["offered_bytes"] > 2 * 48 * 2**20
    assert report["waiting_bytes"] > 10 * 2**20
    assert report["evicted"] > 0
    assert report["waiting_of_the_best"] >= 0.9


def test_a_rescue_on_a_full_disk_saves_the_best_and_flies_on(tmp_path: Path) -> None:
    """The damaged file stays, the best samples that fit come along, and every start succeeds."""
    script = HERE / "rescuer.py"
    first, second = json.loads(
        on_a_small_disk(tmp_path, 64, [sys.executable, str(script), str(tmp_path / "edge.db")])
    )
    assert 10 < first["saved"] < 150
    (event,) = first["events"]
    assert f"{first['saved']} samples were saved, {150 - first['saved']} found no room" in event
    assert second["saved"] >= first["saved"] - 2  # recording may have needed their room
    assert second["events"] == first["events"]
    for start in (first, second):
        assert (start["problems"], start["the best"], start["recorded"]) == ([], True, 50)
        assert start["kept aside"]
