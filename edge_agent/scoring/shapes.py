"""Do the arrays fit together? Everything wrong with them at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Outputs

Array: TypeAlias = npt.NDArray[Any]

# One letter for one size, the same wherever it stands; D+1 is one more than D.
FITTED: Final[Mapping[str, str]] = {
    "mahalanobis/centre": "D",
    "mahalanobis/means": "G D",
    "mahalanobis/whitening": "D r",
    "mahalanobis/global_whitening": "D s",
    "neighbours/features": "B D",
    "vim/origin": "D",
    "vim/axes": "D D",
    "vim/scale": "D+1",
    "fdbd/centre": "D",
    "fdbd/separation": "C C",
}
_NOT_EMPTY: Final = "DGBC"
"""Sizes that may not be zero."""


class MisfitError(ValueError):
    """Arrays that do not fit together; `problems` says all that is wrong with them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def check_fitted(arrays: Mapping[str, Array | None]) -> None:
    """Fitted arrays by their names in `FITTED`; None for one that is missing.

    Raises:
        MisfitError: one is missing, of another shape, no floats, or not finite.
    """
    sizes: dict[str, int] = {}
    problems = [
        f"{name} {problem}"
        for name, array in arrays.items()
        if (problem := _problem(array, FITTED[name].split(), sizes))
    ]
    if problems:
        raise MisfitError(problems)


def check_fitting(
    features: Array, labels: Array | None, head: tuple[npt.ArrayLike, npt.ArrayLike] | None
) -> None:
    """(R, D) features, (R,) labels and the last layer's (C, D) weight and (C,) bias.

    Raises:
        MisfitError: other shapes, labels that are negative or no integers, a layer not finite.
    """
    if features.ndim != 2 or features.shape[1] == 0:
        raise MisfitError([f"features are {features.shape}, not (R, D)"])
    problems = []
    if labels is not None:
        if labels.shape != features.shape[:1]:
            problems.append(f"labels are {labels.shape}, not ({len(features)},)")
        elif labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
            problems.append("labels are not whole numbers from 0")
    if head is not None:
        weight, bias = np.shape(head[0]), np.shape(head[1])
        if len(weight) != 2 or weight[1] != features.shape[1] or bias != weight[:1]:
            problems.append(
                f"the last layer's weight {weight} and bias {bias} do not fit "
                f"features {features.shape}"
            )
        elif not (np.isfinite(head[0]).all() and np.isfinite(head[1]).all()):
            problems.append("the last layer holds values that are not finite")
    if problems:
        raise MisfitError(problems)


def check_outputs(outputs: Outputs, depth: int | None, classes: int | None) -> None:
    """A model's outputs, against the D and C that references were fitted with; None for any.

    Raises:
        MisfitError: they do not fit together, or not the references.
    """
    logits = np.shape(outputs.logits)
    if len(logits) != 2 or logits[1] == 0:
        raise MisfitError([f"logits are {logits}, not (N, C)"])
    problems = []
    if outputs.features is not None:
        features = np.shape(outputs.features)
        if len(features) != 2 or features[0] != logits[0]:
            problems.append(f"features are {features}, not ({logits[0]}, D)")
        elif depth is not None and features[1] != depth:
            problems.append(f"features are {features[1]} numbers long, fitted were {depth}")
        if classes is not None and logits[1] != classes:
            problems.append(f"logits are of {logits[1]} classes, fitted were {classes}")
    if outputs.member_logits is not None:
        members = np.shape(outputs.member_logits)
        if len(members) != 3 or members[1:] != logits or members[0] == 0:
            problems.append(f"member logits are {members}, not (M, {logits[0]}, {logits[1]})")
    if problems:
        raise MisfitError(problems)


def _problem(array: Array | None, letters: list[str], sizes: dict[str, int]) -> str | None:
    """What is wrong with an array of that shape, given the sizes met before; adds new ones."""
    if array is None:
        return "is missing"
    wanted = f"({', '.join(letters)})"
    if array.dtype.kind != "f" or array.ndim != len(letters):
        return f"is {array.dtype} {array.shape}, not numbers of shape {wanted}"
    for letter, size in zip(letters, array.shape, strict=True):
        name, known = letter.removesuffix("+1"), size - letter.endswith("+1")
        if sizes.setdefault(name, known) != known:
            return f"is {array.shape}, not {wanted} with {name} = {sizes[name]}"
        if known == 0 and name in _NOT_EMPTY:
            return f"is {array.shape}: empty"
    return None if np.isfinite(array).all() else "holds values that are not finite"
