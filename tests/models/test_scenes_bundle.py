"""The shipped scenes bundle: whole, honest about its figures, and as good as it says."""

from __future__ import annotations

import csv
import hashlib
import json
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.dataset import read_images, shrink
from training.evaluation import InputSpec, open_session, predict

from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.session import InferenceSettings, Session

WITHHELD = {"airplane", "golfcourse", "harbor", "storagetanks"}


@pytest.fixture(scope="module")
def bundle(repository: Path) -> Path:
    return repository / "models" / "scenes-aerial"


@pytest.fixture(scope="module")
def described(bundle: Path) -> dict[str, Any]:
    return tomllib.loads((bundle / "bundle.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def metrics(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def split(bundle: Path) -> list[dict[str, str]]:
    with (bundle / "split.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def input_spec(described: dict[str, Any]) -> InputSpec:
    given = described["input"]
    return InputSpec(given["size"][0], tuple(given["mean"]), tuple(given["scale"]))


def test_the_model_is_the_one_described_and_small(
    bundle: Path, described: dict[str, Any], metrics: dict[str, Any]
) -> None:
    """The hash in bundle.toml and metrics.json is the file's; size and parameters within bounds."""
    content = (bundle / described["model"]["file"]).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert digest == described["model"]["sha256"] == metrics["model"]["sha256"]
    assert len(content) == metrics["model"]["bytes"] <= 6_000_000
    assert metrics["model"]["parameters"] <= 2_000_000
    assert min(described["input"]["size"]) >= 128


def test_seventeen_classes_and_none_of_the_withheld(
    described: dict[str, Any], metrics: dict[str, Any], split: list[dict[str, str]]
) -> None:
    """The withheld classes are in no label and in no part of the split."""
    labels = described["labels"]
    assert len(labels) == len(set(labels)) == 17
    assert labels == sorted({row["label"] for row in split})
    assert not WITHHELD & {*labels, *(row["name"].split("/")[0] for row in split)}
    assert set(metrics["unseen"]["classes"]) == WITHHELD


def test_any_batch_size_and_the_same_answer_in_each(
    bundle: Path, described: dict[str, Any]
) -> None:
    """The batch dimension is free: one by one or together, the outputs agree and are finite."""
    spec = input_spec(described)
    side = spec.side
    images = np.random.default_rng(3).integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    model = bundle / "model.onnx"
    session = open_session(model)
    assert [port.name for port in session.get_inputs()] == [described["input"]["name"]]
    wanted = [described["output"]["logits"], described["output"]["embedding"]]
    assert [port.name for port in session.get_outputs()] == wanted
    together, apart = predict(model, images, spec, batch=5), predict(model, images, spec, batch=1)
    assert together[0].shape == (5, 17)
    assert together[1].shape == (5, 128)
    for one, other in zip(together, apart, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_calibration_fits_the_model(
    bundle: Path, described: dict[str, Any], split: list[dict[str, str]]
) -> None:
    """Shapes agree, every class is there, and the head applied to the features gives the logits."""
    with np.load(bundle / "calibration.npz") as stored:
        held = {name: stored[name] for name in stored.files}
    count = sum(row["part"] == "calibration" for row in split)
    assert count >= 100
    assert held["logits"].shape == (count, 17)
    assert held["features"].shape == (count, 128)
    assert held["labels"].shape == (count,)
    assert held["labels"].dtype == np.int64
    assert held["head_weight"].shape == (17, 128)
    assert held["head_bias"].shape == (17,)
    assert held["logits"].dtype == held["features"].dtype == np.float32
    assert set(held["labels"].tolist()) == set(range(17))
    assert int(held["format"]) == 2
    assert str(held["model_sha256"]) == described["model"]["sha256"]
    again = held["features"] @ held["head_weight"].T + held["head_bias"]
    np.testing.assert_allclose(again, held["logits"], atol=1e-3)


def test_no_group_of_the_split_straddles(
    split: list[dict[str, str]], metrics: dict[str, Any]
) -> None:
    """Tiles of one group are in one part; the parts are as large as reported."""
    parts = defaultdict(set)
    for row in split:
        parts[row["group"]].add(row["part"])
    assert [group for group, found in parts.items() if len(found) > 1] == []
    assert len({row["name"] for row in split}) == len(split)
    assert Counter(row["part"] for row in split) == metrics["split"]


def test_the_card_shows_the_measured_figures(
    bundle: Path, described: dict[str, Any], metrics: dict[str, Any]
) -> None:
    """The card's headline is the metrics', and each class has its row."""
    card = (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"**{100 * metrics['test']['accuracy']:.1f} %**" in card
    for label in described["labels"]:
        assert f"\n| {label} | {metrics['test']['by_class'][label]['tiles']} |" in card


def test_accuracy_on_the_held_out_images(
    bundle: Path,
    described: dict[str, Any],
    metrics: dict[str, Any],
    split: list[dict[str, str]],
    shared_data: Path,
) -> None:
    """Run again on the real test images: at least 0.90, and what metrics.json says."""
    data = shared_data / "scenes_ucmerced"
    if not data.is_dir():
        pytest.skip(f"no scenes in {shared_data}")
    rows = [row for row in split if row["part"] == "test"]
    images = read_images(data, [row["name"] for row in rows], 256)
    logits, _ = predict(bundle / "model.onnx", images, input_spec(described))
    truth = np.array([described["labels"].index(row["label"]) for row in rows])
    accuracy = float((logits.argmax(axis=1) == truth).mean())
    assert accuracy >= 0.90
    assert accuracy == pytest.approx(metrics["test"]["accuracy"], abs=0.01)


def test_calibration_repeats_on_the_held_out_images(
    bundle: Path, described: dict[str, Any], split: list[dict[str, str]], shared_data: Path
) -> None:
    """calibration.npz is what this model says of the calibration images, in split order."""
    data = shared_data / "scenes_ucmerced"
    if not data.is_dir():
        pytest.skip(f"no scenes in {shared_data}")
    names = [row["name"] for row in split if row["part"] == "calibration"]
    images = read_images(data, names, 256)
    logits, features = predict(bundle / "model.onnx", images, input_spec(described))
    with np.load(bundle / "calibration.npz") as stored:
        np.testing.assert_allclose(logits, stored["logits"], atol=1e-2)
        np.testing.assert_allclose(features, stored["features"], atol=1e-2)


def test_the_agent_sees_what_the_training_saw(
    bundle: Path, split: list[dict[str, str]], shared_data: Path
) -> None:
    """The agent's own loader and session repeat calibration.npz on the same tiles."""
    data = shared_data / "scenes_ucmerced"
    if not data.is_dir():
        pytest.skip(f"no scenes in {shared_data}")
    names = [row["name"] for row in split if row["part"] == "calibration"][:32]
    tiles = shrink(read_images(data, names, 256), 128)
    session = Session(read_bundle(bundle), InferenceSettings())
    outputs = session.run(session.prepare(tiles))
    with np.load(bundle / "calibration.npz") as stored:
        np.testing.assert_allclose(outputs.logits, stored["logits"][:32], atol=1e-2)
        assert outputs.features is not None
        np.testing.assert_allclose(outputs.features, stored["features"][:32], atol=1e-2)
