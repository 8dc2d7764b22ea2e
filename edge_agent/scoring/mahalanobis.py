"""Distance to the classes' Gaussians in the space of normalised features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.scoring.directions import directions
from edge_agent.scoring.logits import Floats

_NOISE: Final = (8.0 * np.finfo(np.float64).eps) ** 2
"""Variance of rounding in rows of length 1: no direction of the data varies so little."""
_CHUNK: Final = 1 << 19
"""Differences held at a time, so that many classes do not fill the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """Class means with one covariance, and one global Gaussian, of features at length 1.

    The covariances themselves are kept as whitening factors `K` with `K K' = pinv(covariance)`:
    a squared Mahalanobis distance is the squared length of the difference times `K`.
    """

    centre: Floats
    """(D,) mean of all."""
    means: Floats
    """(C, D) means of the classes that occur."""
    whitening: Floats
    """(D, r) of the pooled within-class covariance, of rank r."""
    global_whitening: Floats
    """(D, r0) of the covariance of all."""


def fit_gaussians(features: npt.ArrayLike, labels: npt.ArrayLike) -> Gaussians:
    """From (R, D) features, R >= 1, and their (R,) labels; any number of rows for each class.

    The pooled covariance is the mean outer product of the rows less their class's mean (as
    scikit-learn's EmpiricalCovariance(assume_centered=True) of those), the global one that of the
    rows less the mean of all. Both are inverted as scipy's pinvh does: directions in which the
    data do not vary, such as all but R - C with R < D, do not count.
    """
    rows = directions(np.asarray(features, dtype=np.float64))
    _, classes, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), rows.shape[1]))
    for number in range(len(counts)):
        means[number] = rows[classes == number].mean(axis=0)
    centre = rows.mean(axis=0)
    return Gaussians(centre, means, _whitening(rows - means[classes]), _whitening(rows - centre))


def mahalanobis_pp(features: npt.ArrayLike, gaussians: Gaussians) -> Floats:
    """(N,) squared Mahalanobis distance of (N, D) features to the nearest class mean, >= 0.

    Features are brought to length 1 first: Mueller and Hein, "Mahalanobis++: Improving OOD
    Detection via Feature Normalization", ICML 2025, after Lee et al., NeurIPS 2018.
    A zero vector stays zero.
    """
    return class_distance(directions(np.asarray(features, dtype=np.float64)), gaussians)


def rmds_pp(features: npt.ArrayLike, gaussians: Gaussians) -> Floats:
    """(N,) `mahalanobis_pp` less the squared distance to the one global Gaussian.

    Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", 2021, on
    features at length 1. With a single class it is 0.
    """
    unit = directions(np.asarray(features, dtype=np.float64))
    return class_distance(unit, gaussians) - global_distance(unit, gaussians)


def class_distance(unit: Floats, gaussians: Gaussians) -> Floats:
    """(N,) squared distance of (N, D) rows at length 1 to the nearest class mean."""
    white = (unit - gaussians.centre) @ gaussians.whitening
    means = (gaussians.means - gaussians.centre) @ gaussians.whitening
    nearest = np.empty(len(white))
    step = max(1, _CHUNK // max(means.size, 1))
    for start in range(0, len(white), step):
        apart = white[start : start + step, None, :] - means
        nearest[start : start + step] = np.einsum("ncd,ncd->nc", apart, apart).min(axis=1)
    return nearest


def global_distance(unit: Floats, gaussians: Gaussians) -> Floats:
    """(N,) squared distance of (N, D) rows at length 1 to the global Gaussian."""
    white = (unit - gaussians.centre) @ gaussians.global_whitening
    return np.asarray(np.einsum("nd,nd->n", white, white))


def _whitening(centred: Floats) -> Floats:
    """(D, r) factor of the pseudo-inverse of the (R, D) rows' covariance.

    By the singular values of the rows: the covariance's eigenvalues would lose half the digits.
    """
    rows, width = centred.shape
    _, singular, axes = np.linalg.svd(np.linalg.qr(centred, mode="r"), full_matrices=False)
    variance = singular**2 / rows
    floor = max(width * np.finfo(np.float64).eps * variance.max(initial=0.0), _NOISE)
    kept = variance > floor
    return np.ascontiguousarray(axes[kept].T * (np.sqrt(rows) / singular[kept]))
