"""Every command of the README runs as it stands there, on a small survey, in order."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BIN = Path(sys.executable).parent
OURS = ("edge-agent", "server-sync")
ELSEWHERE = ("make", "pip")
"""Run by the continuous integration itself and by the test of the wheel."""


def commands(text: str) -> list[str]:
    """Lines of the console blocks, and commands of the tables, in the order of the page."""
    found = []
    for match in re.finditer(r"```console\n(.*?)```|^\|.*?\| `([^`]+)` \|", text, re.S | re.M):
        block, cell = match.groups()
        found += block.splitlines() if block is not None else [cell]
    return [line for line in found if line.strip()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A working folder with the models beside it and a small flight in it."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "models").symlink_to(repository / "models")
    rehearse = [BIN / "edge-agent", "rehearse", folder / "flight", "--tiles", "250", "--seed", "3"]
    subprocess.run(rehearse, check=True, capture_output=True)
    for name, kind, level in (("held", "forest", 60), ("held", "beach", 180), ("odd", "x", 240)):
        paint(folder / name / kind, level)
    return folder


def paint(folder: Path, level: int) -> None:
    """A few images of noise around a grey level."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(level)
    for number in range(6):
        coarse = np.clip(generator.normal(level, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(coarse).resize((128, 128)).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def base(place: Path) -> Iterator[str]:
    """The page's `server-sync serve`, with the embedded broker in place of the user's own."""
    ready = place / "ready.json"
    command = [BIN / "server-sync", "serve", "--data", place / "srv", "--web", "127.0.0.1:0"]
    command += ["--embedded-broker", "127.0.0.1:0", "--ready-file", ready]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield json.loads(ready.read_text(encoding="utf-8"))["broker"]
        process.terminate()


def here(command: str, place: Path, broker: str) -> list[str]:
    """The command with the page's places replaced by those of the test."""
    words = shlex.split(command)
    names = {
        "/data/flight-12": str(place / "flight"),
        "/data/held-out": str(place / "held"),
        "/data/test": str(place / "held"),
        "/data/strange": str(place / "odd"),
        "/srv/tilesift": str(place / "srv"),
        "base.example.org:1883": broker,
    }
    return [str(BIN / words[0]), *(names.get(word, word) for word in words[1:])]


def test_every_command_runs(repository: Path, place: Path, base: str) -> None:
    """Each command of ours ends with 0; `serve` is the one that is running already."""
    page = commands((repository / "README.md").read_text(encoding="utf-8"))
    known = [line for line in page if line.split()[0] in (*OURS, *ELSEWHERE)]
    assert known == page
    ours = [line for line in page if line.split()[0] in OURS]
    assert len(ours) >= 8
    frame = "frames/R0001.jpg"
    for line in ours:
        if line.startswith("server-sync serve"):
            continue
        words = [word.replace("DJI_0018.JPG", frame) for word in here(line, place, base)]
        done = subprocess.run(
            words, cwd=place, capture_output=True, text=True, timeout=120, check=False,
            env=os.environ | {"COLUMNS": "100"},
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr}{done.stdout}"
        assert done.stdout.strip(), line
    collection = json.loads((place / "export-folder" / "index.geojson").read_text("utf-8"))
    assert collection["features"]


def test_serve_takes_the_flags_of_the_page(repository: Path) -> None:
    """Each flag that the page gives to `serve` is one that `serve` knows."""
    page = (repository / "README.md").read_text(encoding="utf-8")
    help_text = subprocess.run(
        [BIN / "server-sync", "serve", "--help"],
        check=True, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"},
    ).stdout  # fmt: skip
    flags = set(re.findall(r"server-sync serve .*?(?=\n)", page)[0].split()[2::2])
    flags |= {"--embedded-broker"}
    assert all(flag in help_text for flag in flags), flags


def test_every_link_leads_somewhere(repository: Path) -> None:
    """Each relative link of the README and its siblings names a file that is there."""
    for page in repository.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (repository / target).exists(), f"{page.name}: {target}"
