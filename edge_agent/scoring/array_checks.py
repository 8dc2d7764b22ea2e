"""Do the raw arrays of a calibration fit together? Everything wrong with them at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

_NUMBERS: Final = "fiu"


def raw_problems(arrays: Mapping[str, Array], classes: int | None) -> list[str]:
    """What is wrong with raw arrays, for a model of so many classes (None: not known)."""
    logits = arrays.get("logits")
    if logits is None:
        return ["logits missing: (n, C) of held-out familiar tiles"]
    if logits.ndim != 2 or logits.dtype.kind not in _NUMBERS or not logits.shape[1]:
        return [f"logits are {logits.dtype} {logits.shape}, not numbers (n, C)"]
    if not len(logits):
        return ["logits are of no tile"]
    count, width = logits.shape
    problems = []
    if classes is not None and width != classes:
        problems.append(f"logits are of {width} classes, the model has {classes}")
    problems += _label_problems(arrays, "labels", count, width)
    features = arrays.get("features")
    depth = None
    if features is not None:
        found = _feature_problems("features", features, "n", count, None)
        problems += found
        depth = None if found else features.shape[1]
    elif "reference_features" in arrays:
        problems.append("reference_features without features")
    problems += _head_problems(arrays, width, depth)
    problems += _reference_problems(arrays, width, depth)
    members = arrays.get("member_logits")
    if members is not None and (
        members.ndim != 3
        or members.shape[1:] != logits.shape
        or not len(members)
        or members.dtype.kind not in _NUMBERS
    ):
        problems.append(
            f"member_logits are {members.dtype} {members.shape}, not numbers (M, {count}, {width})"
        )
    groups = arrays.get("groups")
    if groups is not None and (groups.shape != (count,) or groups.dtype.kind not in "iu"):
        problems.append(f"groups are {groups.dtype} {groups.shape}, not whole numbers ({count},)")
    return problems


def _label_problems(arrays: Mapping[str, Array], name: str, count: int, classes: int) -> list[str]:
    labels = arrays.get(name)
    if labels is None:
        return []
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        return [f"{name} are {labels.dtype} {labels.shape}, not whole numbers ({count},)"]
    if count and (labels.min() < 0 or labels.max() >= classes):
        return [f"{name} are not whole numbers from 0 to {classes - 1}"]
    return []


def _feature_problems(
    name: str, features: Array, letter: str, count: int | None, depth: int | None
) -> list[str]:
    wanted = f"({letter if count is None else count}, {'D' if depth is None else depth})"
    fits = (
        features.ndim == 2
        and features.dtype.kind in _NUMBERS
        and len(features) == (count or len(features))
        and features.shape[1] == (depth or features.shape[1])
        and features.size > 0
    )
    return [] if fits else [f"{name} are {features.dtype} {features.shape}, not numbers {wanted}"]


def _head_problems(arrays: Mapping[str, Array], classes: int, depth: int | None) -> list[str]:
    weight, bias = arrays.get("head_weight"), arrays.get("head_bias")
    if weight is None and bias is None:
        return []
    if weight is None or bias is None:
        return ["head_weight and head_bias belong together"]
    if weight.dtype.kind not in _NUMBERS or bias.dtype.kind not in _NUMBERS:
        return [f"head_weight and head_bias are {weight.dtype} and {bias.dtype}, not numbers"]
    fits = weight.ndim == 2 and len(weight) == classes and bias.shape == (classes,)
    if not fits or (depth is not None and weight.shape[1] != depth):
        wanted = f"({classes}, {'D' if depth is None else depth}) and ({classes},)"
        return [f"head_weight {weight.shape} and head_bias {bias.shape} are not {wanted}"]
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return ["head_weight or head_bias hold values that are not finite"]
    return []


def _reference_problems(arrays: Mapping[str, Array], classes: int, depth: int | None) -> list[str]:
    reference = arrays.get("reference_features")
    if reference is None:
        return []
    problems = _feature_problems("reference_features", reference, "R", None, depth)
    if problems:
        return problems
    if not np.isfinite(reference).all(axis=1).any():
        return ["reference_features hold no row that is finite"]
    return _label_problems(arrays, "reference_labels", len(reference), classes)
