"""The built wheel, installed alone in a new environment, does the whole job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("edge_agent", "server_sync", "sync_protocol", "operations")
DATA_SUFFIXES = {".sql", ".html", ".css", ".js", ".svg", ".typed", ".mako", ".ini"}
READY_S = 60.0


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the checkout with the build backend that is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, "."],
        cwd=repository, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    (built,) = folder.glob("tilesift-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def installed(
    wheel: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The programs' folder of a new environment with nothing but the wheel's extra `demo`."""
    venv = tmp_path_factory.mktemp("alone") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run(
        [
            venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--no-compile", "-c", repository / "constraints.txt", f"{wheel}[demo]",
        ],
        check=True, cwd=venv.parent,
    )  # fmt: skip
    yield venv / "bin"
    shutil.rmtree(venv)  # half a gigabyte that pytest would keep for three runs


def run(program: Path, *arguments: object, cwd: Path) -> str:
    """Standard output of a program of the new environment, run far from the checkout."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [program, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_all_that_the_programs_read_and_nothing_else(
    wheel: Path, repository: Path
) -> None:
    """Every source, schema, migration, template and type marker is in; tests and models are not."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    expected = {
        file.relative_to(repository).as_posix()
        for package in PACKAGES
        for file in (repository / package).rglob("*")
        if file.suffix in DATA_SUFFIXES | {".py"} and "__pycache__" not in file.parts
    }
    assert expected <= names
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    suffixes = {Path(name).suffix for name in names}
    assert {".sql", ".html"} <= suffixes
    assert suffixes & {".onnx", ".npz", ".pyc", ".db"} == set()
    assert licences


@pytest.mark.parametrize("program", ["edge-agent", "server-sync"])
def test_the_programs_answer_from_an_empty_folder(
    program: str, installed: Path, tmp_path: Path
) -> None:
    """`--help` works with nothing of the checkout in reach."""
    assert program in run(installed / program, "--help", cwd=tmp_path)


@pytest.fixture
def server(installed: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Addresses of `server-sync serve` with its embedded broker, on free loopback ports."""
    ready = tmp_path / "ready.json"
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(
        [
            installed / "server-sync", "serve", "--data", tmp_path / "store",
            "--embedded-broker", "127.0.0.1:0", "--web", "127.0.0.1:0", "--ready-file", ready,
        ],
        cwd=tmp_path, stderr=log, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + READY_S
        while not ready.exists():
            failed = process.poll() is not None or time.monotonic() > deadline
            assert not failed, (tmp_path / "server.log").read_text()
            time.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def test_a_small_survey_goes_from_imagery_to_the_store(
    installed: Path, repository: Path, tmp_path: Path, server: dict[str, str]
) -> None:
    """The installed programs rehearse, filter, sync and list; what was kept is in the store."""
    edge, database = installed / "edge-agent", tmp_path / "edge.db"
    survey = tmp_path / "survey"
    bundle = repository / "models/rehearsal"

    def told(*arguments: object, program: Path = edge) -> Any:
        return json.loads(run(program, *arguments, "--json", cwd=tmp_path))

    told("rehearse", survey, "--seed", 3, "--tiles", 300)
    filtered = told("filter", survey, "--bundle", bundle, "--database", database)
    assert filtered["tiles"] >= 250
    assert filtered["kept"] > 0
    told(
        "sync", "--drain", "--broker", server["broker"], "--device", "wheel",
        "--database", database,
    )  # fmt: skip
    samples = told(
        "samples", "list", "--data", tmp_path / "store", program=installed / "server-sync"
    )
    assert 0 < len(samples) <= filtered["kept"]
    assert told("status", "--database", database)
