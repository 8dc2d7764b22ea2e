"""The shipped bundle on a survey that it has never seen, run by onnxruntime and nothing of ours."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edge_agent.rehearsal.covers import GSD_M, LABELS
from edge_agent.rehearsal.novel_kinds import NOVEL_KINDS


@dataclass
class Run:
    """What the bundle says of the survey's tiles."""

    labels: list[str]
    logits: np.ndarray
    truth: np.ndarray
    novel: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        weights = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    @property
    def entropy(self) -> np.ndarray:
        p = self.probabilities
        return -(p * np.log(np.maximum(p, 1e-30))).sum(axis=1)


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "models" / "rehearsal"


@pytest.fixture(scope="module")
def run(folder: Path, rendered) -> Run:
    described = tomllib.loads((folder / "bundle.toml").read_text())
    given = described["input"]
    # Tiles that something novel only touches are neither; so the card leaves them out as well.
    rows = [
        row
        for row in rendered.rows
        if float(row["nodata_share"]) <= 0.5
        and (row["novelty"] or float(row["novelty_share"]) == 0)
    ]
    pixels = np.stack([rendered.pixels(row) for row in rows]).astype(np.float32)
    batch = ((pixels - np.float32(given["mean"])) / np.float32(given["scale"])).transpose(
        0, 3, 1, 2
    )
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    logits = [
        session.run([described["output"]["logits"]], {given["name"]: part})[0]
        for part in np.array_split(np.ascontiguousarray(batch), 20)
    ]
    return Run(
        described["labels"],
        np.concatenate(logits).astype(np.float64),
        np.array([row["class"] for row in rows]),
        np.array([row["novelty"] != "" for row in rows]),
    )


def test_bundle_is_whole(folder: Path) -> None:
    """The model is the one the description names, its labels and scale are the survey's."""
    described = tomllib.loads((folder / "bundle.toml").read_text())
    model = (folder / "model.onnx").read_bytes()
    assert described["model"]["sha256"] == hashlib.sha256(model).hexdigest()
    assert tuple(described["labels"]) == LABELS
    assert not set(LABELS) & set(NOVEL_KINDS)
    assert described["input"]["gsd_m"] == GSD_M
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["model"]["parameters"] <= 300_000


def test_accuracy_is_the_cards(folder: Path, run: Run) -> None:
    """On familiar tiles of a new seed the accuracy is at most .02 below the card's."""
    stated = json.loads((folder / "metrics.json").read_text())["surveys"]["test"]["accuracy"]
    named = np.array(run.labels)[run.logits.argmax(axis=1)]
    accuracy = (named == run.truth)[~run.novel].mean()
    assert stated >= 0.9
    assert accuracy >= stated - 0.02
    assert f"{100 * stated:.1f} %" in (folder / "MODEL_CARD.md").read_text()


def test_novel_tiles_look_unfamiliar(run: Run) -> None:
    """Novel tiles have a higher median entropy than familiar ones, and a lower top probability."""
    assert run.novel.sum() > 20
    assert np.median(run.entropy[run.novel]) > 2 * np.median(run.entropy[~run.novel])
    top = run.probabilities.max(axis=1)
    assert np.median(top[run.novel]) < np.median(top[~run.novel])


def test_calibration_holds_on_a_new_survey(folder: Path, run: Run) -> None:
    """Of familiar tiles, about 5 % have an entropy above the calibration's 95th percentile."""
    with np.load(folder / "calibration.npz") as made:
        known = Run(run.labels, made["logits"].astype(np.float64), run.truth, run.novel)
        assert len(np.unique(made["labels"])) == len(LABELS)
    limit = np.quantile(known.entropy, 0.95)
    above = (run.entropy[~run.novel] > limit).mean()
    assert 0.02 < above < 0.10
    assert (run.entropy[run.novel] > limit).mean() > 2 * above
