"""Writes what surrounds model.onnx: bundle.toml, calibration.npz, split.csv, metrics.json."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.domain import Outputs
from edge_agent.inference.calibration_file import write_calibration as write_arrays
from edge_agent.scoring import references as scoring
from edge_agent.scoring.calibration import Calibration, CalibrationOptions, Familiar
from edge_agent.scoring.calibration_arrays import to_arrays
from edge_agent.scoring.fitting import fit_calibration, suggested_neighbours
from training.dataset import Labels, Tiles
from training.evaluation import Floats, InputSpec
from training.splitting import Split


@dataclass(frozen=True, slots=True)
class BundleSpec:
    """What a bundle says of itself.

    gsd_m: metres per pixel of the tiles as the model sees them. purpose, not_for, data_notes,
    split_note: for the card. command: what makes the bundle again.
    """

    name: str
    version: str
    gsd_m: float
    training_data: str
    licence: str
    purpose: str
    not_for: tuple[str, ...]
    data_notes: tuple[str, ...]
    command: str
    split_note: str = "by content: tiles that show the same ground are on one side"


@dataclass(frozen=True, slots=True)
class Head:
    """The last layer: logits = features @ weight.T + bias."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Trained:
    """Embeddings (n, D) and labels (n,) of the training tiles, as they are, without augmentation.

    What is familiar is learned from them; how far off familiar tiles may lie is not, for the
    network knows its training tiles too well.
    """

    features: Floats
    labels: Labels


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text(value: str) -> str:
    # A JSON string is a TOML basic string once the delete character is escaped too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_bundle_toml(
    folder: Path, spec: BundleSpec, labels: Sequence[str], given: InputSpec
) -> None:
    """bundle.toml for folder/model.onnx."""
    lines = [
        f"name = {_text(spec.name)}",
        f"version = {_text(spec.version)}",
        'task = "classify"',
        "labels = [",
        *(f"  {_text(label)}," for label in labels),
        "]",
        "",
        "[model]",
        'file = "model.onnx"',
        f'sha256 = "{file_sha256(folder / "model.onnx")}"',
        "",
        "[input]",
        'name = "image"',
        f"size = [{given.side}, {given.side}]",
        'colour = "RGB"',
        f"mean = {list(given.mean)}",
        f"scale = {list(given.scale)}",
        f"gsd_m = {float(spec.gsd_m)}",
        "",
        "[output]",
        'logits = "logits"',
        'embedding = "embedding"',
        "",
        "[provenance]",
        f"training_data = {_text(spec.training_data)}",
        f"licence = {_text(spec.licence)}",
    ]
    (folder / "bundle.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_calibration(
    folder: Path,
    logits: Floats,
    features: Floats,
    labels: Labels,
    groups: NDArray[np.int64],
    head: Head,
    trained: Trained,
) -> None:
    """calibration.npz, fitted on the training tiles and ranked on tiles never trained on."""
    layer = scoring.Head(head.weight.astype(np.float64), head.bias.astype(np.float64))
    known = trained.features @ head.weight.T + head.bias
    calibration = fit_calibration(
        Familiar(Outputs(logits, features), labels, groups),
        layer,
        training=Familiar(Outputs(known, trained.features), trained.labels),
        options=CalibrationOptions(
            scoring.ScoreOptions(suggested_neighbours(trained.labels, len(trained.labels)))
        ),
    )
    store_calibration(folder, calibration)


def store_calibration(folder: Path, calibration: Calibration) -> None:
    """calibration.npz beside the model that it belongs to."""
    write_arrays(
        folder / "calibration.npz",
        to_arrays(calibration),
        model_sha256=file_sha256(folder / "model.onnx"),
    )


def write_split(folder: Path, tiles: Tiles, split: Split) -> None:
    """split.csv: each tile's part, and the first tile of its group."""
    _, first, group = np.unique(tiles.groups, return_index=True, return_inverse=True)
    part = np.zeros(len(tiles.names), dtype=object)
    for name, rows in split.parts().items():
        part[rows] = name
    with (folder / "split.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "label", "part", "group"])
        for row, name in enumerate(tiles.names):
            label = tiles.label_names[tiles.labels[row]]
            writer.writerow([name, label, part[row], tiles.names[first[group[row]]]])


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """metrics.json, readable and stable in order."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
