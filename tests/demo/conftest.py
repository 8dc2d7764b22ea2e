"""The demo as a person starts it, and one small walk that several tests look at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Demo = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def demo(repository: Path) -> Demo:
    """Runs `python -m demo` with the given flags to its end."""

    def run(*flags: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "demo", *map(str, flags)],
            cwd=repository, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def walked(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and the report of a small rehearsal's walk."""
    out = tmp_path_factory.mktemp("walk") / "out"
    done = demo("--out", out, "--tiles", 250)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return out, report
