"""Network -> ONNX, and the proof that the file computes what the network computes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from training.evaluation import InputSpec, predict
from training.fitting import Fitted

OPSET = 17
TOLERANCE = 1e-4


class ExportError(RuntimeError):
    """The exported file disagrees with the network."""


def export_onnx(fitted: Fitted, side: int, path: Path) -> None:
    """Write the network with input `image`, outputs `logits` and `embedding`, dynamic batch.

    Raises ExportError when onnxruntime and torch differ by more than 1e-4 on random pixels.
    """
    network = fitted.network.eval().to(memory_format=torch.contiguous_format)
    names = ["image", "logits", "embedding"]
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated but folds batch norm and needs no further package.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, side, side),),
            str(path),
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(path), full_check=True)
    _compare(fitted, side, path)


def _compare(fitted: Fitted, side: int, path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    spec = InputSpec(side, tuple(fitted.mean), tuple(fitted.scale))
    with torch.no_grad():
        given = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
        wanted = fitted.network(fitted.normalise(given).contiguous())
    for name, want, got in zip(
        ("logits", "embedding"), wanted, predict(path, pixels, spec), strict=True
    ):
        worst = float(np.abs(want.numpy() - got).max())
        if not worst <= TOLERANCE:
            raise ExportError(f"{name} of {path} differ from the network's by {worst:.2g}")
