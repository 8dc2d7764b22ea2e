"""The page on scores tells what is so: its commands run, its tables are what is measured now."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_agent.scoring.calibration import OOD
from edge_agent.scoring.references import SCORE_NAMES
from edge_agent.settings import EdgeSettings

BIN = Path(sys.executable).parent
TOLERANCE = 0.015
"""Of a measured figure; of a count, this share of it. Another processor rounds otherwise."""
LARGEST_PICTURE = {".svg": 60_000, ".jpg": 100_000}
TIMED = "times"
"""The block that differs from machine to machine."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")
BEST = re.compile(r"`\w+` (?=\(?\d)")
"""The name of a best or worst score, before its figure: two that are as good may change places."""


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    """The page's text."""
    return (repository / "docs" / "scores.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A working folder with the models beside it, small sets of images, and outputs of a model."""
    folder = tmp_path_factory.mktemp("scores")
    (folder / "models").symlink_to(repository / "models")
    for number, (name, kind) in enumerate(
        [("trained", "forest"), ("trained", "beach"), ("held-out", "forest"), ("held-out", "beach"),
         ("test", "forest"), ("test", "beach"), ("near", "x"), ("strange", "y")]
    ):  # fmt: skip
        paint(folder / name / kind, seed=number, level=60 + 80 * (number % 2))
    generator = np.random.default_rng(0)
    with np.load(folder / "models" / "scenes-aerial" / "calibration.npz") as arrays:
        features = np.abs(arrays["features"][:9] + generator.normal(size=(9, 1)))
        logits = features @ arrays["head_weight"].T + arrays["head_bias"]
    np.savez(folder / "outputs.npz", features=features, logits=logits)
    return folder


def paint(folder: Path, seed: int, level: int) -> None:
    """A few images of noise around a grey level."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(6):
        coarse = np.clip(generator.normal(level, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(coarse).resize((128, 128)).save(folder / f"{number}.png")


def commands(text: str) -> list[str]:
    """Lines of the console blocks in the order of the page."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def blocks(text: str) -> dict[str, str]:
    """What stands between the marks, by name."""
    return dict(re.findall(r"<!-- measured:(\S+) -->\n(.*?)<!-- /measured -->", text, re.S))


def test_every_command_runs(page: str, place: Path) -> None:
    """Each command of ours ends with 0 and says something, in order, on small sets."""
    every = commands(page)
    ours = [line for line in every if line.startswith("edge-agent ")]
    assert [line for line in every if line not in ours] == ["pip install '.[report]'"]
    assert len(ours) >= 6
    for line in ours:
        words = [word.replace("/data/", f"{place}/") for word in shlex.split(line)]
        done = subprocess.run(
            [BIN / words[0], *words[1:]], cwd=place, capture_output=True, text=True,
            timeout=120, check=False, env=os.environ | {"COLUMNS": "100"},
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr}{done.stdout}"
        assert done.stdout.strip(), line
    for written in ("new.npz", "calibration.html", "evaluation.html", "scores.npz"):
        assert (place / written).stat().st_size > 0


def test_settings_of_the_page_are_accepted(page: str) -> None:
    """Each block of settings, and each setting named in the text, is one that the device knows."""
    found = re.findall(r"```toml\n(.*?)```", page, re.S)
    found += [f"{key} = {value}" for key, value in re.findall(r"`(policy\.\S+) = ([\d.]+)`", page)]
    assert len(found) >= 3
    for text in found:
        msgspec.convert(tomllib.loads(text), EdgeSettings)


def test_every_score_has_its_row(page: str, repository: Path) -> None:
    """The table of what scores see, and those of their worth and cost, have a row for each."""
    told = page[page.index("## The scores") : page.index("## `ood`")]
    measured = blocks(page)
    for name in SCORE_NAMES:
        row = re.search(rf"^\| `{name}` \|(.*)\|$", told, re.M)
        assert row is not None, name
        assert [cell for cell in row[1].split("|") if not cell.strip()] == []
        assert f"`{name}`" in measured[TIMED]
        assert f"`{name}`" in measured["scores"]
    assert f"`{OOD}`" in measured["scores"]


def test_every_picture_and_link_is_there(page: str, repository: Path) -> None:
    """Pictures are small, SVGs are sound, ask for nothing from elsewhere and know the dark."""
    docs = repository / "docs"
    links = re.findall(r"\]\(([^)#]+)", page)
    pictures = [docs / link for link in links if link.startswith("scores/")]
    assert sorted(pictures) == sorted((docs / "scores").iterdir())
    for link in links:
        assert "://" in link or (docs / link).exists(), link
    for picture in pictures:
        assert picture.stat().st_size < LARGEST_PICTURE[picture.suffix], picture.name
        if picture.suffix == ".svg":
            text = picture.read_text(encoding="utf-8")
            assert ElementTree.fromstring(text).get("aria-label")  # noqa: S314 our own file
            assert "prefers-color-scheme: dark" in text
            assert set(re.findall(r"https?://[^\"]+", text)) == {
                "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink",
            }  # fmt: skip


def wording(text: str) -> str:
    """All but what is measured."""
    return NUMBER.sub("#", BEST.sub("", text))


def test_tables_are_what_is_measured(
    page: str, repository: Path, shared_data: Path, tmp_path: Path
) -> None:
    """The script, run now on the imagery, writes the tables of image sets as they stand."""
    copy = tmp_path / "scores.md"
    emptied = re.sub(
        r"(<!-- measured:(?!times|surveys|surprising)\S+ -->\n).*?(<!-- /measured -->)",
        r"\1\2",
        page,
        flags=re.S,
    )
    copy.write_text(emptied, encoding="utf-8")
    script = repository / "docs" / "make_scores_page.py"
    subprocess.run(
        [sys.executable, script, "--data", shared_data, "--page", copy, "--scenes"],
        check=True, capture_output=True, timeout=500,
    )  # fmt: skip
    again = copy.read_text(encoding="utf-8")
    assert not (tmp_path / "scores").exists()
    expected, found = blocks(page), blocks(again)
    assert expected.keys() == found.keys()
    for name, text in expected.items():
        assert wording(found[name]) == wording(text), name
        was, now = (
            np.array(NUMBER.findall(part), dtype=np.float64) for part in (text, found[name])
        )
        off = np.abs(was - now) > TOLERANCE * np.maximum(1.0, was)
        assert not off.any(), f"{name}: {was[off]} are now {now[off]}"
    assert wording(again) == wording(page)
