"""`head.npz`: the last linear layer of a bundle's model, bound to its hash.

Written when a bundle is made of an exported model, and read by the calibration: the scores ViM
and fDBD need the layer, and the device has no way to look into an ONNX file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_agent.inference.arrays_file import ArraysFileError, read_npz, write_npz
from operations.errors import Problem

HEAD_FILE: Final = "head.npz"
FORMAT: Final = 1
_KEYS: Final = ("head_weight", "head_bias", "model_sha256", "format")


@dataclass(frozen=True, slots=True)
class HeadArrays:
    """logits = embedding @ weight.T + bias."""

    weight: npt.NDArray[np.float32]
    """(C, D)"""
    bias: npt.NDArray[np.float32]
    """(C,)"""


def write_head(path: Path, head: HeadArrays, *, model_sha256: str) -> None:
    """Write the file, whole or not at all; the same head gives the same bytes.

    Raises:
        ArraysFileError: the disk or the folder refuses.
    """
    arrays = {
        "head_weight": np.asarray(head.weight, dtype=np.float32),
        "head_bias": np.asarray(head.bias, dtype=np.float32),
        "model_sha256": np.array(model_sha256),
        "format": np.array(FORMAT),
    }
    write_npz(path, arrays)


def read_head(
    path: Path, *, classes: int, model_sha256: str
) -> tuple[HeadArrays | None, list[Problem]]:
    """The head, or None where the file is absent, and everything wrong with it."""
    if not path.exists():
        return None, []
    try:
        arrays = read_npz(path)
    except ArraysFileError as error:
        return None, list(error.problems) or [Problem(error.summary, _AGAIN)]
    missing = [name for name in _KEYS if name not in arrays]
    if missing:
        return None, [Problem(f"{path.name} lacks {', '.join(missing)}", _AGAIN)]
    problems = _problems(path.name, arrays, classes, model_sha256)
    if problems:
        return None, problems
    weight, bias = (arrays[name].astype(np.float32) for name in _KEYS[:2])
    return HeadArrays(weight, bias), []


_AGAIN: Final = "make the bundle again: edge-agent bundle create"


def _problems(name: str, arrays: dict[str, Any], classes: int, sha256: str) -> list[Problem]:
    weight, bias, bound, made = (arrays[key] for key in _KEYS)
    problems = []
    if str(bound) != sha256:
        problems.append(Problem(f"{name} belongs to another model (sha256 {bound})", _AGAIN))
    if made.size != 1 or made.dtype.kind not in "iu" or int(made.reshape(-1)[0]) != FORMAT:
        problems.append(Problem(f"{name} has a format other than {FORMAT}", "update tilesift"))
    if any(array.dtype.kind != "f" for array in (weight, bias)):
        return [*problems, Problem(f"{name} holds something other than floats", _AGAIN)]
    if weight.ndim != 2 or len(weight) != classes or bias.shape != (classes,):
        problems.append(
            Problem(
                f"{name}: head_weight {weight.shape} and head_bias {bias.shape} "
                f"are not those of {classes} classes",
                _AGAIN,
            )
        )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        problems.append(Problem(f"{name} holds values that are not finite", _AGAIN))
    return problems
