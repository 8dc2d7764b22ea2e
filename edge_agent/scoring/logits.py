"""Scores from logits alone: (N, C) in, (N,) float64 out, higher = more out-of-distribution.

All work in float64 on logits shifted by their maximum, so that magnitudes up to 1e30 lose nothing.
A logit of -inf is legal, a class of probability zero. Rows that hold NaN, +inf, or -inf alone
say nothing: `usable_rows` tells them apart, and the scores of such rows are undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Score: TypeAlias = Callable[[npt.ArrayLike], Floats]


def usable_rows(logits: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(N,) bool: rows without NaN or +inf and with at least one finite logit."""
    rows = np.asarray(logits)
    forbidden = np.isnan(rows) | np.isposinf(rows)
    return np.asarray(~forbidden.any(axis=1) & np.isfinite(rows).any(axis=1))


def softmax(logits: npt.ArrayLike) -> Floats:
    """(N, C) class probabilities; each row sums to 1."""
    weights = np.exp(_shifted(logits))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def msp(logits: npt.ArrayLike) -> Floats:
    """Minus the maximum softmax probability, in [-1, -1/C].

    Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples in Neural Networks", ICLR 2017.
    """
    return np.asarray(-softmax(logits).max(axis=1))


def max_logit(logits: npt.ArrayLike) -> Floats:
    """Minus the maximum logit, in the units of the logits.

    Vaze et al., "Open-Set Recognition: A Good Closed-Set Classifier Is All You Need?", ICLR 2022.
    """
    return np.asarray(-np.asarray(logits, dtype=np.float64).max(axis=1))


def entropy(logits: npt.ArrayLike) -> Floats:
    """Shannon entropy of the softmax in nats, in [0, ln C]."""
    shifted = _shifted(logits)
    weights = np.exp(shifted)
    total = weights.sum(axis=1)
    # 0 * -inf is a class of probability zero: it adds nothing.
    terms = np.multiply(weights, shifted, out=np.zeros_like(weights), where=weights > 0)
    return np.asarray(np.maximum(np.log(total) - terms.sum(axis=1) / total, 0.0))


def margin(logits: npt.ArrayLike) -> Floats:
    """Minus the difference between the two highest probabilities, in [-1, 0].

    Scheffer, Decomain and Wrobel, "Active Hidden Markov Models for Information Extraction",
    IDA 2001. With one class the runner-up has probability 0.
    """
    probabilities = softmax(logits)
    if probabilities.shape[1] == 1:
        return -probabilities[:, 0]
    highest = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(highest[:, 0] - highest[:, 1])


LOGIT_SCORES: Final[Mapping[str, Score]] = MappingProxyType(
    {"msp": msp, "max_logit": max_logit, "entropy": entropy, "margin": margin}
)


def logit_scores(logits: npt.ArrayLike) -> dict[str, Floats]:
    """Every score of this module by name, each (N,)."""
    return {name: score(logits) for name, score in LOGIT_SCORES.items()}


def _shifted(logits: npt.ArrayLike) -> Floats:
    rows = np.asarray(logits, dtype=np.float64)
    return np.asarray(rows - rows.max(axis=1, keepdims=True))
