"""The last layer of a bundle's model, from wherever it is known. Does without onnx if it must."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_agent.inference.arrays_file import Arrays
from edge_agent.inference.bundle import CALIBRATION_FILE, Bundle, BundleError
from edge_agent.inference.calibration_file import read_calibration
from edge_agent.inference.head_file import HEAD_FILE, HeadArrays, read_head
from operations.errors import OperatorError
from operations.extras import needing


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A last layer and where it was found, or why there is none."""

    head: HeadArrays | None
    source: str | None
    """head.npz, calibration.npz, or the ONNX files themselves, by their names."""
    lack: str = ""


def known_head(bundle: Bundle) -> KnownHead:
    """From head.npz, from the bundle's own calibration, or out of the model if onnx is installed.

    A calibration that is damaged or another model's has no say: it is about to be replaced.

    Raises:
        BundleError: head.npz is damaged or belongs to another model.
    """
    classes, digest = len(bundle.description.labels), bundle.model_sha256.hex()
    head, problems = read_head(bundle.folder / HEAD_FILE, classes=classes, model_sha256=digest)
    if problems:
        raise BundleError(f"bundle {bundle.folder} cannot be used", problems)
    if head is not None:
        return KnownHead(head, HEAD_FILE)
    if bundle.description.output.embedding is None:
        return KnownHead(None, None, "the model gives no embedding")
    earlier, _ = read_calibration(bundle.folder / CALIBRATION_FILE, model_sha256=digest)
    if earlier is not None and (head := _of_calibration(earlier, classes)) is not None:
        return KnownHead(head, CALIBRATION_FILE)
    return _in_the_model(bundle)


def _of_calibration(arrays: Arrays, classes: int) -> HeadArrays | None:
    weight, bias = arrays.get("head_weight"), arrays.get("head_bias")
    if weight is None or bias is None or weight.dtype.kind != "f" or bias.dtype.kind != "f":
        return None
    if weight.ndim != 2 or len(weight) != classes or bias.shape != (classes,):
        return None
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return None
    return HeadArrays(weight.astype(np.float32), bias.astype(np.float32))


def _in_the_model(bundle: Bundle) -> KnownHead:
    try:
        with needing("bundle"):
            from edge_agent.authoring.heads import find_bundle_head
    except OperatorError as error:
        hint = error.problems[0].hint
        return KnownHead(None, None, f"to look for them in the model takes onnx: {hint}")
    head = find_bundle_head(bundle)
    if head is None:
        return KnownHead(None, None, "no linear layer stands between embedding and logits")
    return KnownHead(head, ", ".join(path.name for path in bundle.model_paths))
