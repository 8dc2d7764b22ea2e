"""Virtual-logit matching: what of the features lies where the familiar ones do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.scoring.directions import finite, lengths, scaled
from edge_agent.scoring.logits import Floats, Logits, energy


@dataclass(frozen=True, slots=True, eq=False)
class NullSpace:
    """Principal axes of the features about the head's origin, fitted for every dimension."""

    origin: Floats
    """(D,) u = -pinv(W) b: the point whose logits are nearest to zero."""
    axes: Floats
    """(D, D) eigenvectors of the covariance about the origin, columns by falling eigenvalue."""
    scale: Floats
    """(D + 1,) alpha by dimension of the principal space: sum of the maximum logits over the sum
    of the residual lengths of the fitting rows; 0 where there is no residual."""


def fit_null_space(
    features: npt.ArrayLike, head_weight: npt.ArrayLike, head_bias: npt.ArrayLike
) -> NullSpace:
    """From (R, D) features, R >= 1, and the last layer's (C, D) weight and (C,) bias.

    A residual below the rounding of the features counts as none; so it is for every dimension
    >= the rank of the features, which is R at most.
    """
    rows = np.asarray(features, dtype=np.float64)
    weight, bias = np.asarray(head_weight, np.float64), np.asarray(head_bias, np.float64)
    origin = -np.linalg.pinv(weight, rcond=1e-5) @ bias
    centred = rows - origin
    # The singular vectors of the rows: the covariance's eigenvectors would lose half the digits.
    triangle = np.linalg.qr(centred, mode="r")
    axes = np.ascontiguousarray(np.linalg.svd(triangle, full_matrices=True)[2].T)
    squares = (centred @ axes) ** 2
    # Column d: squared length of what is left beside the first d axes.
    left = np.zeros((len(rows), rows.shape[1] + 1))
    left[:, :-1] = np.cumsum(squares[:, ::-1], axis=1)[:, ::-1]
    residual = np.sqrt(left).mean(axis=0)
    logit = (rows @ weight.T + bias).max(axis=1).mean()
    rounding = rows.shape[1] * np.finfo(np.float64).eps * residual[0]
    some = residual > rounding
    scale = np.divide(logit, residual, out=np.zeros_like(residual), where=some)
    return NullSpace(origin, axes, scale)


def paper_dimension(depth: int) -> int:
    """Dimension of the principal space for D features, the rule of the paper; 64 for D = 128."""
    if depth >= 2048:
        return 1000
    return 512 if depth >= 768 else depth // 2


def vim(
    features: npt.ArrayLike, logits: Logits, null_space: NullSpace, dimension: int | None = None
) -> Floats:
    """(N,) alpha times the residual's length less logsumexp of the logits, in their units.

    The residual is what of (N, D) features f less the origin lies outside of the first `dimension`
    axes (None: the paper's rule; at most D, where nothing is left and vim is the energy).
    Wang, Li, Feng and Zhang, "ViM: Out-of-Distribution with Virtual-logit Matching", CVPR 2022.
    """
    depth = len(null_space.origin)
    wanted = paper_dimension(depth) if dimension is None else min(dimension, depth)
    near_one, factor = scaled(np.asarray(features, dtype=np.float64) - null_space.origin)
    residual = lengths(near_one @ null_space.axes[:, wanted:])
    with np.errstate(over="ignore"):
        virtual = finite(null_space.scale[wanted] * residual * factor)
    return finite(virtual + energy(logits))
