"""The shipped crown bundle: whole, split by site, honest about its labels and its figures."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crown_images import SOURCE_SIDE
from PIL import Image
from training.dataset import read_images, shrink
from training.evaluation import predict, read_input

from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.session import InferenceSettings, Session


@pytest.fixture(scope="module")
def bundle(repository: Path) -> Path:
    return repository / "models" / "crown-health"


@pytest.fixture(scope="module")
def metrics(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    return found


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def split(bundle: Path) -> list[dict[str, str]]:
    return table(bundle / "split.csv")


@pytest.fixture(scope="module")
def crowns(shared_data: Path) -> Path:
    folder = shared_data / "crowns_neon"
    if not folder.is_dir():
        pytest.skip(f"no crowns in {shared_data}")
    return folder


def site(name: str) -> str:
    """The only run of four capitals between underscores or at the start of the file name."""
    pieces = name.split("/")[1].split("_")
    found = [piece for piece in pieces if len(piece) == 4 and piece.isalpha() and piece.isupper()]
    assert len(found) == 1, name
    return found[0]


def test_it_opens_as_an_agent_opens_it(bundle: Path, metrics: dict[str, Any]) -> None:
    """Read and probed without a problem; small; the hash is the file's; head applied = logits."""
    described = tomllib.loads((bundle / "bundle.toml").read_text(encoding="utf-8"))
    assert described["labels"] == ["Alive", "Dead"]
    content = (bundle / "model.onnx").read_bytes()
    assert hashlib.sha256(content).hexdigest() == metrics["model"]["sha256"]
    assert metrics["model"]["parameters"] <= 500_000
    session = Session(read_bundle(bundle), InferenceSettings())
    tiles = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    outputs = session.run(session.prepare(tiles))
    with np.load(bundle / "calibration.npz") as held:
        assert str(held["model_sha256"]) == metrics["model"]["sha256"]
        weight, bias = held["head_weight"], held["head_bias"]
        assert len(held["logits"]) == metrics["split"]["calibration"] >= 100
    assert outputs.features is not None
    np.testing.assert_allclose(outputs.features @ weight.T + bias, outputs.logits, atol=1e-3)


def test_unseen_sites_are_unseen(split: list[dict[str, str]], metrics: dict[str, Any]) -> None:
    """Test sites are in no other part; calibration sites are known; groups are whole."""
    sites, groups = defaultdict(set), defaultdict(set)
    for row in split:
        sites[row["part"]].add(site(row["name"]))
        groups[row["group"]].add(row["part"])
    assert not sites["test"] & (sites["train"] | sites["calibration"] | sites["test_seen"])
    assert sites["calibration"] | sites["test_seen"] <= sites["train"]
    assert len(sites["test"]) >= 5
    assert all(len(parts) == 1 for parts in groups.values())
    assert len({row["name"] for row in split}) == len(split)
    assert Counter(row["part"] for row in split) == metrics["split"]
    for part, labels in itertools.groupby(
        sorted((row["part"], row["label"]) for row in split), lambda pair: pair[0]
    ):
        counts = Counter(label for _, label in labels)
        assert 0.8 <= counts["Alive"] / counts["Dead"] <= 1.25, part


def test_no_image_is_in_two_parts_or_there_twice(split: list[dict[str, str]], crowns: Path) -> None:
    """By decoded pixels, not by name."""
    seen = {}
    for row in split:
        with Image.open(crowns / row["name"]) as opened:
            image = opened.convert("RGB")
        key = (image.size, hashlib.sha256(image.tobytes()).digest())
        assert key not in seen, (row["name"], seen.get(key))
        seen[key] = row["name"]


def packed(path: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"), dtype=np.int64)
    return pixels @ np.array([65536, 256, 1])


def shared_with_the_smaller(one: Any, other: Any) -> float:
    """Largest share of the smaller image that lies, to the pixel, in the larger; 0 below a half.

    An overlap of more than half of the smaller image covers its middle: every place of the larger
    that has the colours of the middle is tried.
    """
    large, small = (one, other) if one.size >= other.size else (other, one)
    row, column = small.shape[0] // 2, small.shape[1] // 2
    places = np.argwhere(large == small[row, column])
    best = 0
    for down, right in (places - (row, column)).tolist():
        top, left = max(0, down), max(0, right)
        bottom = min(large.shape[0], down + small.shape[0])
        end = min(large.shape[1], right + small.shape[1])
        if (bottom - top) * (end - left) < small.size / 2:
            continue
        here = large[top:bottom, left:end]
        if (here == small[top - down : bottom - down, left - right : end - right]).all():
            best = max(best, here.size)
    return best / small.size


def test_conflicts_are_what_a_comparison_of_pixels_finds(
    bundle: Path, split: list[dict[str, str]], metrics: dict[str, Any], crowns: Path
) -> None:
    """All pairs of Alive and Dead of a site, compared another way; only those are left out."""
    names = [f"{path.parent.name}/{path.name}" for path in sorted(crowns.glob("*/*.png"))]
    images = {name: packed(crowns / name) for name in names}
    by_site = defaultdict(list)
    for name in names:
        by_site[site(name)].append(name)
    found = {}
    for here in by_site.values():
        alive = [name for name in here if name.startswith("Alive/")]
        dead = [name for name in here if name.startswith("Dead/")]
        for one, other in itertools.product(alive, dead):
            share = shared_with_the_smaller(images[one], images[other])
            if share >= 0.5 or one.split("/")[1] == other.split("/")[1]:
                found[one, other] = f"{share:.3f}"
    listed = table(bundle / "conflicts.csv")
    assert {(row["alive"], row["dead"]): row["shared_of_smaller"] for row in listed} == found
    conflicting = {name for pair in found for name in pair}
    used = {row["name"] for row in split}
    assert conflicting
    assert not conflicting & used
    assert used | conflicting == set(names)  # no image is there twice: none more is left out
    assert metrics["crowns"]["labels"]["conflicts"] == len(found)
    assert metrics["crowns"]["labels"]["left_out"] == len(conflicting)


def test_calibration_repeats_on_the_real_crowns(
    bundle: Path, split: list[dict[str, str]], crowns: Path
) -> None:
    """The agent's session gives the stored logits and features, in split order."""
    names = [row["name"] for row in split if row["part"] == "calibration"]
    tiles = shrink(read_images(crowns, names, SOURCE_SIDE), 64)
    session = Session(read_bundle(bundle), InferenceSettings())
    outputs = session.run(session.prepare(tiles))
    with np.load(bundle / "calibration.npz") as held:
        np.testing.assert_allclose(outputs.logits, held["logits"], atol=1e-2)
        assert outputs.features is not None
        np.testing.assert_allclose(outputs.features, held["features"], atol=1e-2)
        labels = [row["label"] == "Dead" for row in split if row["part"] == "calibration"]
        assert held["labels"].tolist() == labels


def test_accuracy_on_unseen_sites(
    bundle: Path, split: list[dict[str, str]], metrics: dict[str, Any], crowns: Path
) -> None:
    """Run again on the real test images: what metrics.json says, in all and by site."""
    rows = [row for row in split if row["part"] == "test"]
    images = read_images(crowns, [row["name"] for row in rows], SOURCE_SIDE)
    logits, _ = predict(bundle / "model.onnx", images, read_input(bundle))
    right = logits.argmax(axis=1) == [row["label"] == "Dead" for row in rows]
    assert right.mean() == pytest.approx(metrics["test"]["accuracy"], abs=0.01)
    by_site = metrics["crowns"]["test_by_site"]
    counts = Counter(site(row["name"]) for row in rows)
    assert {name: figures["tiles"] for name, figures in by_site.items()} == counts
    assert sum(f["right"] for f in by_site.values()) == metrics["test"]["right"]


def test_the_card_shows_the_measured_figures(bundle: Path, metrics: dict[str, Any]) -> None:
    """Headline, every unseen site, every far set and every score stand on the card."""
    card = (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"**{100 * metrics['test']['accuracy']:.1f} %**" in card
    crowns = metrics["crowns"]
    for name, figures in crowns["test_by_site"].items():
        assert f"\n| {name} | {figures['tiles']} | {figures['right']} |" in card
    for title, figures in crowns["far"].items():
        assert f"{title}: {figures['tiles']} crops" in card
    for name, figures in crowns["misclassification"]["test"]["scores"].items():
        assert f"\n| {name} | {figures['auroc']:.3f} (" in card
