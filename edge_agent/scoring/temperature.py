"""Are the probabilities right? Temperature scaling and calibration error.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.scoring.conformal import Floats
from edge_agent.scoring.logits import softmax

LOWEST: Final = 0.05
HIGHEST: Final = 20.0
_GOLDEN: Final = (math.sqrt(5.0) - 1.0) / 2.0
_STEPS: Final = 60


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins of equal width over the confidence, (bins,) each; empty bins hold NaN."""

    edges: Floats
    """(bins + 1,)"""
    count: npt.NDArray[np.int64]
    confidence: Floats
    """Mean confidence of the predicted class."""
    accuracy: Floats
    """Share of right predictions."""

    @property
    def expected_calibration_error(self) -> float:
        """Mean gap between confidence and accuracy, weighted by the bins' tiles; in [0, 1]."""
        filled = self.count > 0
        if not filled.any():
            return math.nan
        gaps = np.abs(self.confidence[filled] - self.accuracy[filled])
        return float(np.average(gaps, weights=self.count[filled]))


def reliability(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 15) -> Reliability:
    """Confidence against accuracy of (N, C) probabilities and (N,) labels."""
    rows, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    confidence, right = rows.max(axis=1), rows.argmax(axis=1) == truth
    number = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(number, minlength=bins)

    def mean(values: Floats) -> Floats:
        total = np.bincount(number, weights=values, minlength=bins)
        return np.asarray(np.divide(total, count, out=np.full(bins, np.nan), where=count > 0))

    edges = np.linspace(0.0, 1.0, bins + 1)
    return Reliability(edges, count, mean(confidence), mean(right.astype(np.float64)))


def expected_calibration_error(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 15
) -> float:
    """Expected calibration error with `bins` bins of equal width; NaN without tiles."""
    return reliability(probabilities, labels, bins).expected_calibration_error


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """T > 0 that makes softmax(logits / T) most likely on (N, C) logits and (N,) labels.

    The likelihood is unimodal in ln T, so golden-section search finds it; the result lies within
    0.05 and 20, where separable tiles would drive it to 0 or useless logits to infinity.
    """
    rows, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)

    def loss(log_temperature: float) -> float:
        scaled = rows / math.exp(log_temperature)
        highest = scaled.max(axis=1)
        total = np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
        own = scaled[np.arange(len(truth)), truth]
        return float(np.minimum(highest + total - own, 1e6).mean())

    low, high = math.log(LOWEST), math.log(HIGHEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    for _ in range(_STEPS):
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - _GOLDEN * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + _GOLDEN * (high - low)
            loss_right = loss(right)
    return math.exp((low + high) / 2)


def tempered(logits: npt.ArrayLike, temperature: float) -> Floats:
    """(N, C) probabilities at a temperature."""
    return softmax(np.asarray(logits, dtype=np.float64) / temperature)
