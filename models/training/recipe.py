"""Tiles and labels in, a bundle folder out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edge_agent.domain import Outputs
from training import bundle_writer as writer
from training.bundle_writer import BundleSpec, Head, Trained
from training.card import model_card
from training.dataset import Pixels, Tiles
from training.evaluation import InputSpec, milliseconds_per_tile, predict, read_calibration
from training.exporting import OPSET, export_onnx
from training.figures import accuracy_figures, novelty_figures
from training.fitting import Fitted, Report, TrainingConfig, fit, load
from training.network import parameter_count
from training.splitting import Split, split_by_group


def _quiet(line: str) -> None:
    """Say nothing."""


def train_bundle(
    tiles: Tiles,
    spec: BundleSpec,
    config: TrainingConfig,
    out: Path,
    *,
    split: Split | None = None,
    unseen: Mapping[str, Pixels] | None = None,
    checkpoint: Path | None = None,
    weights: Path | None = None,
    report: Report = _quiet,
) -> dict[str, Any]:
    """Split, train, export, measure and write a bundle; returns what metrics.json holds.

    split: the parts, where dealing single groups by `config.split_seed` would not do. unseen:
    class name -> (N, H, W, 3) uint8 tiles of classes the model must not know, only measured.
    checkpoint: file for the averaged weights while training. weights: a checkpoint to export
    instead of training. Raises ExportError when the ONNX file disagrees with the network.
    """
    if split is None:
        split = split_by_group(tiles.labels, tiles.groups, config.split_seed)
    fitted = (
        fit(tiles.take(split.train), config, report, checkpoint, tiles.take(split.calibration))
        if weights is None
        else load(weights, len(tiles.label_names), config)
    )
    out.mkdir(parents=True, exist_ok=True)
    export_onnx(fitted, config.side, out / "model.onnx")
    given = InputSpec(config.side, tuple(fitted.mean), tuple(fitted.scale))
    writer.write_bundle_toml(out, spec, tiles.label_names, given)
    writer.write_split(out, tiles, split)
    metrics = {
        **_measure(out, tiles, split, given, _head(fitted), unseen or {}),
        "split": {part: len(rows) for part, rows in split.parts().items()},
        "model": _describe(out / "model.onnx", fitted, config.side),
        "training": _run(fitted, config),
    }
    writer.write_metrics(out, metrics)
    (out / "MODEL_CARD.md").write_text(
        model_card(spec, tiles.label_names, metrics), encoding="utf-8"
    )
    return metrics


def _run(fitted: Fitted, config: TrainingConfig) -> dict[str, Any]:
    return {
        "config": dataclasses.asdict(config),
        "seconds": round(fitted.seconds),
        "torch": str(torch.__version__),
    }


def _head(fitted: Fitted) -> Head:
    layer = fitted.network.head
    return Head(layer.weight.detach().numpy(), layer.bias.detach().numpy())


def _measure(
    out: Path,
    tiles: Tiles,
    split: Split,
    given: InputSpec,
    head: Head,
    unseen: Mapping[str, Pixels],
) -> dict[str, Any]:
    """Write calibration.npz and look at the test part, once."""
    model = out / "model.onnx"
    train, calibration, test = map(tiles.take, (split.train, split.calibration, split.test))
    _, bank = predict(model, train.images, given)
    logits, features = predict(model, calibration.images, given)
    trained = Trained(bank, train.labels)
    writer.write_calibration(
        out, logits, features, calibration.labels, calibration.groups, head, trained
    )
    test_logits, test_features = predict(model, test.images, given)
    names = tiles.label_names
    figures: dict[str, Any] = {
        "test": accuracy_figures(test_logits, test.labels, names),
        "calibration": accuracy_figures(logits, calibration.labels, names),
    }
    if unseen:
        calibrated = read_calibration(out)
        found = {
            kind: calibrated.judge(Outputs(*predict(model, images, given))).scores
            for kind, images in unseen.items()
        }
        familiar = calibrated.judge(Outputs(test_logits, test_features)).scores
        figures["unseen"] = novelty_figures(familiar, found)
    return figures


def _describe(model: Path, fitted: Fitted, side: int) -> dict[str, Any]:
    return {
        "sha256": writer.file_sha256(model),
        "side": side,
        "bytes": model.stat().st_size,
        "parameters": parameter_count(fitted.network),
        "opset": OPSET,
        "milliseconds_per_tile": {
            f"batch_{batch}": round(milliseconds_per_tile(model, side, batch), 2)
            for batch in (1, 16)
        },
    }
