"""An ensemble from images to the ledger: calibrated, shown, flown, and explained."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

AGENT = Path(sys.executable).parent / "edge-agent"
RNG = np.random.default_rng(11)
WEIGHTS = RNG.normal(0, 6, (3, 3, 4)).round(2)
"""Of three members: (M, D, C)."""
BIASES = RNG.normal(0, 1, (3, 4)).round(2)
BOTH = ("ensemble_entropy", "ensemble_mutual_information")
SIDE = 32


def agent(*arguments: object) -> str:
    """What the real command prints."""
    done = subprocess.run(
        [AGENT, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_hand(tile: Any) -> tuple[Any, float, float]:
    """Mean of the softmaxes (C,), its entropy, and that less the mean of the entropies."""
    embedding = tile.astype(float).mean(axis=(0, 1)) / 255.0
    shares = []
    for weight, bias in zip(WEIGHTS, BIASES, strict=True):
        powers = np.exp(embedding @ weight + bias)
        shares.append(powers / powers.sum())
    mean = sum(shares) / len(shares)
    entropy = -np.sum(mean * np.log(mean))
    alone = [-np.sum(each * np.log(each)) for each in shares]
    return mean, entropy, entropy - sum(alone) / len(alone)


def noise(seed: int, rows: int, columns: int) -> Any:
    """A frame whose tiles have colours of their own."""
    generator = np.random.default_rng(seed)
    colours = generator.integers(20, 236, (rows, columns, 3))
    wide = np.repeat(np.repeat(colours, SIDE, axis=0), SIDE, axis=1)
    return (wide + generator.integers(-20, 20, wide.shape)).astype(np.uint8)


@pytest.fixture
def ensemble(tiny_ensemble: Callable[..., Path], make_linear: Callable[..., Any]) -> Path:
    """Three members, each with its own last layer; no head.npz, no calibration."""
    models = [make_linear(weight, bias) for weight, bias in zip(WEIGHTS, BIASES, strict=True)]
    return tiny_ensemble(models, mean="mean = [0.0, 0.0, 0.0]", scale="scale = [255, 255, 255]")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """120 tiles, one a file, unlabelled."""
    folder = tmp_path / "familiar"
    folder.mkdir()
    for number in range(120):
        Image.fromarray(noise(100 + number, 1, 1)).save(folder / f"{number:03}.png")
    return folder


def test_the_ledger_holds_what_the_hand_computes(
    ensemble: Path, images: Path, tmp_path: Path
) -> None:
    """Mean probabilities and both ensemble scores of every tile of two frames, with p-values."""
    told = json.loads(agent("calibrate", ensemble, images, "--json"))
    assert told["head_source"] == "m0.onnx, m1.onnx, m2.onnx"
    assert {*BOTH, "vim", "fdbd"} <= told["false_alarms"].keys()
    flight, database = tmp_path / "flight", tmp_path / "edge.db"
    flight.mkdir()
    frames = {f"f{number}.png": noise(number, 2, 3) for number in range(2)}
    for name, pixels in frames.items():
        Image.fromarray(pixels).save(flight / name)
    flown = agent("filter", flight, "--bundle", ensemble, "--database", database, "--json")
    assert json.loads(flown)["tiles"] == 12
    for number in range(1, 13):
        found = json.loads(agent("explain", number, "--database", database, "--json"))
        frame, _, place = found["tile"].rpartition("@")
        row, column = (int(part) for part in place.split(","))
        pixels = frames[Path(frame).name]
        mean, entropy, mutual = by_hand(pixels[row : row + SIDE, column : column + SIDE])
        scores = {each["score"]: each for each in found["scores"]}
        shares = found["probabilities"]
        expected = dict(zip("abcd", mean, strict=True))
        likeliest = sorted(expected, key=expected.__getitem__, reverse=True)
        assert list(shares) == likeliest[: len(shares)]
        assert sum(shares.values()) > 0.99
        for label, share in shares.items():
            assert share == pytest.approx(expected[label], abs=1e-4)
        assert scores[BOTH[0]]["value"] == pytest.approx(entropy, rel=1e-4, abs=1e-5)
        assert scores[BOTH[1]]["value"] == pytest.approx(mutual, rel=1e-3, abs=1e-5)
        assert all(0 < scores[name]["p_value"] <= 1 for name in BOTH)


def test_a_calibration_keeps_what_each_member_said(ensemble: Path, images: Path) -> None:
    """member_logits of all tiles, and p-values by the rank among their own scores."""
    agent("calibrate", ensemble, images, "--json")
    with np.load(ensemble / "calibration.npz") as arrays:
        said = arrays["member_logits"]
        logits = arrays["logits"]
    assert said.shape == (3, 120, 4)
    np.testing.assert_allclose(said.mean(axis=0), logits, rtol=1e-4, atol=1e-4)
    files = sorted(images.iterdir())
    tiles = np.stack([np.asarray(Image.open(file)) for file in files])
    embedding = tiles.mean(axis=(1, 2)) / 255.0
    expected = [embedding @ weight + bias for weight, bias in zip(WEIGHTS, BIASES, strict=True)]
    hand = np.stack(expected).transpose(1, 0, 2)
    kept = said.transpose(1, 0, 2)
    apart = np.abs(kept[:, None] - hand).max(axis=(2, 3))  # the file's order is its own matter
    assert apart.min(axis=1).max() < 1e-3
    assert sorted(apart.argmin(axis=1)) == list(range(120))


def test_check_and_show_tell_of_the_members(ensemble: Path, images: Path) -> None:
    """Each file by name, the joined embedding, and both scores once calibrated; then a fault."""
    agent("calibrate", ensemble, images)
    agent("bundle", "check", ensemble)
    found = json.loads(agent("bundle", "show", ensemble, "--json"))
    assert [each["file"] for each in found["members"]] == ["m0.onnx", "m1.onnx", "m2.onnx"]
    assert found["output"]["embedding_values"] == 9
    assert set(BOTH) <= set(found["scores"])
    assert set(BOTH) <= set(found["calibration"]["scores"])
    assert "m2.onnx" in agent("bundle", "show", ensemble)
    (ensemble / "m1.onnx").write_bytes(b"no model")
    done = subprocess.run(
        [AGENT, "bundle", "check", ensemble], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "m1.onnx has sha256" in done.stderr
