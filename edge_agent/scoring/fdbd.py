"""Distance to the decision boundaries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.scoring.directions import finite, lengths
from edge_agent.scoring.logits import Floats, Logits, taken_apart


@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """What the distance to the last layer's boundaries needs."""

    centre: Floats
    """(D,) mean feature of the fitting rows."""
    separation: Floats
    """(C, C) Euclidean distances between the last layer's weight rows."""


def fit_boundaries(features: npt.ArrayLike, head_weight: npt.ArrayLike) -> Boundaries:
    """From (R, D) features, R >= 1, and the last layer's (C, D) weight."""
    weight = np.asarray(head_weight, dtype=np.float64)
    separation = np.stack([lengths(weight - row) for row in weight])
    return Boundaries(np.asarray(features, dtype=np.float64).mean(axis=0), separation)


def fdbd(features: npt.ArrayLike, logits: Logits, boundaries: Boundaries) -> Floats:
    """(N,) minus the mean distance to the boundaries, over the distance to the mean feature; <= 0.

    Of (N, D) features and their (N, C) logits; no unit. The distance to the boundary with class c
    is (max logit - logit c) / |w_max - w_c|. Liu and Qin, "Fast Decision Boundary based
    Out-of-Distribution Detector", ICML 2024.

    A class has no boundary with the predicted one (the first of several) where their weight rows
    are equal or its probability is zero (a logit of -inf): it is left out, and with none left the
    score is 0. A feature nearer to the mean than the mean's own rounding counts as that far.
    """
    apart = taken_apart(logits)
    separation = boundaries.separation[apart.winner]
    with np.errstate(over="ignore", invalid="ignore"):
        gaps = apart.highest[:, None] - apart.rows
    bounded = (separation > 0.0) & np.isfinite(apart.rows)
    with np.errstate(over="ignore"):
        across = finite(np.divide(gaps, separation, out=np.zeros_like(gaps), where=bounded))
    count = np.maximum(bounded.sum(axis=1), 1)
    away = lengths(np.asarray(features, dtype=np.float64) - boundaries.centre)
    nearest = max(
        np.finfo(np.float64).eps * float(lengths(boundaries.centre[None])[0]),
        np.finfo(np.float64).tiny,
    )
    with np.errstate(over="ignore"):
        mean = finite((across / count[:, None]).sum(axis=1))
        return finite(-mean / np.maximum(away, nearest)) + 0.0
