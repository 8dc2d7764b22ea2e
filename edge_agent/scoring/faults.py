"""Which tiles a model has said nothing usable of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Outputs
from edge_agent.scoring.logits import Floats


def faults(outputs: Outputs) -> list[str | None]:
    """Per tile what makes it impossible to judge, None where nothing does; the first that holds:

    `logits-nan`, `logits-inf` (+inf), `logits-none` (-inf alone), the same of any ensemble member
    as `member-logits-...`, and `features-not-finite`.
    """
    found = _logit_faults(np.asarray(outputs.logits), "logits")
    for member in () if outputs.member_logits is None else outputs.member_logits:
        found = _first(found, _logit_faults(np.asarray(member), "member-logits"))
    if outputs.features is not None:
        finite = np.isfinite(outputs.features).all(axis=1).tolist()
        found = _first(found, [None if good else "features-not-finite" for good in finite])
    return found


def blanked(values: npt.ArrayLike, faulty: npt.NDArray[np.bool_]) -> Floats:
    """Float64 with zeros in the faulty rows of (N, ...) or, of members, (M, N, C) values."""
    array = np.asarray(values, dtype=np.float64)
    if not faulty.any():
        return array
    array = array.copy()
    array[..., faulty, :] = 0.0
    return array


def _logit_faults(logits: npt.NDArray[Any], what: str) -> list[str | None]:
    found: list[str | None] = [None] * len(logits)
    if np.isfinite(logits).all():
        return found
    kinds = {
        "none": np.isneginf(logits).all(axis=1),
        "inf": np.isposinf(logits).any(axis=1),
        "nan": np.isnan(logits).any(axis=1),
    }
    for kind, rows in kinds.items():
        for row in np.flatnonzero(rows):
            found[row] = f"{what}-{kind}"
    return found


def _first(one: list[str | None], other: list[str | None]) -> list[str | None]:
    return [a or b for a, b in zip(one, other, strict=True)]
