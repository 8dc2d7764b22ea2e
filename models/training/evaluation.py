"""Runs an exported model over tiles, exactly as an agent would: uint8 pixels, one ONNX session."""

from __future__ import annotations

import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edge_agent.scoring.calibration import Calibration
from edge_agent.scoring.calibration_arrays import read_arrays
from training.dataset import Pixels, shrink

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the model wants: side in px, mean and scale per RGB channel in 0..255 units."""

    side: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]


def read_input(bundle: Path) -> InputSpec:
    """How the tiles of a written bundle are normalised."""
    described = tomllib.loads((bundle / "bundle.toml").read_text(encoding="utf-8"))["input"]
    return InputSpec(described["size"][0], tuple(described["mean"]), tuple(described["scale"]))


def read_calibration(bundle: Path) -> Calibration:
    """The written bundle's calibration, as an agent reads it."""
    with np.load(bundle / "calibration.npz") as made:
        return read_arrays({name: made[name] for name in made.files})


def model_input(images: Pixels, spec: InputSpec) -> Floats:
    """(N, H, W, 3) uint8 -> (N, 3, side, side) float32."""
    pixels = shrink(images, spec.side).astype(np.float32)
    mean, scale = (np.asarray(values, dtype=np.float32) for values in (spec.mean, spec.scale))
    return np.ascontiguousarray(((pixels - mean) / scale).transpose(0, 3, 1, 2))


def open_session(model: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A CPU session with this many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def predict(model: Path, images: Pixels, spec: InputSpec, batch: int = 32) -> tuple[Floats, Floats]:
    """Logits (N, C) and embeddings (N, D) of (N, H, W, 3) uint8 images."""
    session = open_session(model)
    logits, embeddings = [], []
    for start in range(0, len(images), batch):
        given = {"image": model_input(images[start : start + batch], spec)}
        found = session.run(["logits", "embedding"], given)
        logits.append(found[0])
        embeddings.append(found[1])
    return np.concatenate(logits), np.concatenate(embeddings)


def milliseconds_per_tile(model: Path, side: int, batch: int, repeats: int = 200) -> float:
    """Fastest of the repeats, one thread, random pixels: what other work slows is not the model."""
    session = open_session(model)
    given = np.random.default_rng(0).standard_normal((batch, 3, side, side)).astype(np.float32)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        session.run(None, {"image": given})
        times.append(time.perf_counter() - started)
    return min(times) / batch * 1e3
