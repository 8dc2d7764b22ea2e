"""The report pages: one file, nothing from elsewhere, readable by people and by screen readers."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BIN = Path(sys.executable).parent
SHAPES = {"img", "meta", "rect", "path", "use", "br", "link", "input"}
WITHOUT_REPORT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jinja2", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from edge_agent.cli import main
main()
"""


class Page(HTMLParser):
    """What a page is made of; unclosed elements are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.plots: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep pictures, plots and whatever points elsewhere."""
        given = dict(attrs)
        if tag == "img":
            self.pictures.append(given)
        if tag == "svg" and given.get("class") == "plot":
            self.plots.append(given)
        self.addresses += [v for k in ("src", "href", "xlink:href") if (v := given.get(k))]
        if tag not in SHAPES:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content needs no end."""
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v]

    def handle_endtag(self, tag: str) -> None:
        """Every end belongs to the element opened last."""
        if tag not in SHAPES:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """All text."""
        self.text += data


def paint(folder: Path, count: int, level: int, seed: int) -> Path:
    """Noisy images around a grey level."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        base = generator.normal(level, 12, 3)
        coarse = np.clip(base + generator.normal(0, 25, (6, 6, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(coarse).resize((48, 48)).save(folder / f"<{number:03}>.png")
    return folder


def run(*arguments: object, without_report: bool = False) -> subprocess.CompletedProcess[str]:
    """`edge-agent` in a process of its own."""
    words = [*map(str, arguments)]
    program = [sys.executable, "-c", WITHOUT_REPORT] if without_report else [BIN / "edge-agent"]
    return subprocess.run([*program, *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Both pages of the shipped rehearsal bundle, on images of noise."""
    folder = tmp_path_factory.mktemp("pages")
    for label, level, seed in (("bare_soil", 110, 1), ("water", 40, 2)):
        paint(folder / "held" / label, 25, level, seed)
        paint(folder / "test" / label, 12, level, seed + 10)
    paint(folder / "foreign & odd", 15, 220, 30)
    for name in ("bundle.toml", "model.onnx"):
        (folder / "bundle").mkdir(exist_ok=True)
        (folder / "bundle" / name).symlink_to(repository / "models" / "rehearsal" / name)
    done = run("calibrate", folder / "bundle", folder / "held", "--report",
               folder / "calibration.html", "--unlabelled")  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run("evaluate", folder / "bundle", "--id", folder / "test", "--far",
               folder / "foreign & odd", "--report", folder / "evaluation.html",
               "--unlabelled")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["calibration", "evaluation"])
def test_a_page_asks_nobody_for_anything(pages: Path, name: str) -> None:
    """No address but data and places in the page itself; no script, no import, no font."""
    text = (pages / f"{name}.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in page.addresses)
    assert not re.search(r"<script|@import|@font-face|url\((?!#)", text)
    outside = {word for word in re.findall(r"https?://[^\s\"'<]+", text) if "w3.org" not in word}
    assert outside == set()


@pytest.mark.parametrize("name", ["calibration", "evaluation"])
def test_every_picture_and_plot_is_told_in_words(pages: Path, name: str) -> None:
    """Alt texts and labels are there, and plots follow the page's colours by day and night."""
    text = (pages / f"{name}.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.plots
    assert all(plot.get("aria-label") and plot.get("role") == "img" for plot in page.plots)
    assert all(picture.get("alt") for picture in page.pictures)
    assert "prefers-color-scheme: dark" in text
    plots = "".join(re.findall(r'<svg class="plot".*?</svg>', text, re.S))
    colours = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", plots))
    assert colours == set()
    assert "var(--accent)" in plots


def test_the_odd_tiles_are_shown(pages: Path) -> None:
    """Thumbnails are JPEGs of the strangest familiar and the most familiar-looking OOD tiles."""
    text = (pages / "evaluation.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.pictures) == 12 + 12
    source = page.pictures[0]["src"]
    assert source is not None
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        assert image.format == "JPEG"
        assert max(image.size) <= 160
    assert "The strangest familiar tiles" in page.text
    assert "The most familiar-looking tiles of foreign & odd" in page.text


def test_names_of_files_are_text(pages: Path) -> None:
    """A file called like an element is shown by its name and opens nothing."""
    text = (pages / "evaluation.html").read_text(encoding="utf-8")
    assert "&lt;0" in text
    assert not re.search(r"<0\d\d>", text)


def test_the_same_run_gives_the_same_page(pages: Path) -> None:
    """No clock, no random ids: a report can be compared with another."""
    first = (pages / "evaluation.html").read_text(encoding="utf-8")
    run("evaluate", pages / "bundle", "--id", pages / "test", "--far", pages / "foreign & odd",
        "--report", pages / "again.html", "--unlabelled")  # fmt: skip
    assert (pages / "again.html").read_text(encoding="utf-8") == first


def test_without_the_extra_the_work_is_done_and_the_way_is_told(pages: Path) -> None:
    """No jinja2, no matplotlib: the figures come, one line says how to get the page."""
    done = run("evaluate", pages / "bundle", "--id", pages / "test", "--far",
               pages / "foreign & odd", "--report", pages / "never.html", "--unlabelled",
               without_report=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "AUROC" in done.stdout
    lines = [line for line in done.stderr.splitlines() if "tilesift[report]" in line]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    assert not (pages / "never.html").exists()


def test_a_page_that_cannot_be_written_is_told(pages: Path) -> None:
    """A folder that is not there: one message, before any work is done for it."""
    done = run("evaluate", pages / "bundle", "--id", pages / "test", "--far",
               pages / "foreign & odd", "--report", pages / "no" / "such" / "page.html",
               "--unlabelled")  # fmt: skip
    assert done.returncode == 3
    assert "the page cannot be written" in done.stderr
    assert done.stdout == ""
