"""`calibration.npz`: what the model made of held-out familiar tiles, bound to its hash."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operations.errors import Problem

FORMAT: Final = 1
_REQUIRED: Final = ("logits", "labels", "model_sha256", "format")
_FEATURES: Final = ("features", "head_weight", "head_bias")


@dataclass(frozen=True, slots=True)
class CalibrationArrays:
    """Outputs on n held-out familiar tiles of C classes; the feature parts are None without."""

    logits: npt.NDArray[np.float32]
    """(n, C)"""
    labels: npt.NDArray[np.int64]
    """(n,)"""
    features: npt.NDArray[np.float32] | None
    """(n, D)"""
    head_weight: npt.NDArray[np.float32] | None
    """(C, D)"""
    head_bias: npt.NDArray[np.float32] | None
    """(C,)"""


def read_calibration(
    path: Path, *, classes: int, model_sha256: str
) -> tuple[CalibrationArrays | None, list[Problem]]:
    """The arrays, or None when the file is absent, and everything wrong with them."""
    if not path.exists():
        return None, []
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        return None, [Problem(f"cannot read {path.name}: {error}", "calibrate the bundle again")]
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing:
        return None, [Problem(f"{path.name} lacks {', '.join(missing)}", "calibrate again")]
    problems = [*_binding_problems(path, arrays, model_sha256), *_shape_problems(arrays, classes)]
    if problems:
        return None, problems
    return CalibrationArrays(
        logits=arrays["logits"],
        labels=arrays["labels"],
        features=arrays.get("features"),
        head_weight=arrays.get("head_weight"),
        head_bias=arrays.get("head_bias"),
    ), []


def _binding_problems(path: Path, arrays: Mapping[str, Any], sha256: str) -> list[Problem]:
    problems = []
    if str(arrays["model_sha256"]) != sha256:
        problems.append(
            Problem(
                f"{path.name} belongs to another model (sha256 {arrays['model_sha256']})",
                "use the calibration made with this model, or calibrate again",
            )
        )
    if arrays["format"].size != 1 or int(arrays["format"].reshape(-1)[0]) != FORMAT:
        problems.append(Problem(f"{path.name} has a format other than {FORMAT}", "update tilesift"))
    return problems


def _shape_problems(arrays: Mapping[str, Any], classes: int) -> list[Problem]:
    logits, labels = arrays["logits"], arrays["labels"]
    problems = []
    if logits.ndim != 2 or logits.shape[1] != classes or len(logits) == 0:
        problems.append(Problem(f"calibration logits are {logits.shape}, not (n, {classes})"))
    elif labels.shape != logits.shape[:1]:
        problems.append(Problem(f"calibration labels are {labels.shape}, not ({len(logits)},)"))
    elif labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        problems.append(
            Problem(f"calibration labels are not whole numbers from 0 to {classes - 1}")
        )
    present = [name for name in _FEATURES if name in arrays]
    if present and len(present) < len(_FEATURES):
        problems.append(Problem(f"calibration has {', '.join(present)} but not the other of them"))
    elif present and not problems:
        features, weight, bias = (arrays[name] for name in _FEATURES)
        depth = features.shape[1] if features.ndim == 2 else -1
        if (features.ndim != 2 or len(features) != len(logits)
            or weight.shape != (classes, depth) or bias.shape != (classes,)):  # fmt: skip
            problems.append(
                Problem(
                    f"calibration features {features.shape}, head_weight {weight.shape} and "
                    f"head_bias {bias.shape} do not fit together"
                )
            )
    problems += [
        Problem(f"calibration {name} holds values that are not finite")
        for name in ("logits", *present)
        if not np.isfinite(arrays[name]).all()
    ]
    return problems
