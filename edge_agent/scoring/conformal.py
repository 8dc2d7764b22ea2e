"""Conformal p-values: how a tile's score ranks among familiar tiles.

Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; class-conditional
(Mondrian) after their chapter 4.5, with the predicted class as the category: it is known for a new
tile, the true class is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Classes: TypeAlias = npt.NDArray[np.int64]

CONFIDENCE: Final = 0.9
_BISECTIONS: Final = 60


@dataclass(frozen=True, slots=True)
class Ranks:
    """Ascending scores of the calibration tiles, and of each class that has enough of them."""

    pooled: Floats
    """(n,)"""
    by_class: Mapping[int, Floats]
    """Predicted class -> (n_c,); a class that is missing is ranked among all."""

    def p_values(self, scores: Floats, classes: Classes) -> Floats:
        """(N,) p-values `(1 + #{calibration >= s}) / (n + 1)`, in (0, 1]; ties count as above.

        For a tile exchangeable with the calibration tiles, P(p <= a) <= a, and the same within
        each class of `by_class`.
        """
        p = _ranked(self.pooled, scores)
        for number, reference in self.by_class.items():
            of_class = classes == number
            p[of_class] = _ranked(reference, scores[of_class])
        return p

    def own_p_values(self, scores: Floats, classes: Classes) -> Floats:
        """(n,) p-values of the calibration tiles themselves, each ranked among the others.

        `#{calibration >= s} / (n + 1)`, the tile itself counted: the smallest p-value that it
        could have had with any further tile among the others.
        """
        p = _own(self.pooled, scores)
        for number, reference in self.by_class.items():
            of_class = classes == number
            p[of_class] = _own(reference, scores[of_class])
        return p

    @property
    def smallest(self) -> float:
        """The smallest p-value that every tile can reach."""
        return 1.0 / (min(map(len, (self.pooled, *self.by_class.values()))) + 1.0)


def rank(scores: Floats, classes: Classes, class_minimum: int) -> Ranks:
    """The ranks of (n,) calibration scores; classes with `class_minimum` tiles get their own."""
    counts = np.bincount(classes) if len(classes) else np.zeros(0, dtype=np.int64)
    return Ranks(
        np.sort(scores),
        {
            int(number): np.sort(scores[classes == number])
            for number in np.flatnonzero(counts >= max(class_minimum, 1))
        },
    )


def upper_share(count: int, at_or_above: int, confidence: float = CONFIDENCE) -> float:
    """The largest share of familiar tiles that may score so high, given a small calibration.

    Clopper and Pearson 1934, one-sided: with probability `confidence` over the draw of the
    calibration, at most this share of all familiar tiles scores as high as a tile with
    `at_or_above` of `count` calibration tiles at or above it. Vovk, "Conditional validity of
    inductive conformal predictors", 2012.
    """
    if at_or_above >= count:
        return 1.0
    low, high = at_or_above / count, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _binomial_at_most(at_or_above, count, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def _binomial_at_most(successes: int, count: int, share: float) -> float:
    if share >= 1.0:
        return 0.0
    log_share, log_rest = math.log(max(share, 1e-300)), math.log1p(-share)
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * log_share + (count - k) * log_rest
        for k in range(successes + 1)
    ]  # fmt: skip
    return math.fsum(map(math.exp, logs))


def _ranked(reference: Floats, scores: Floats) -> Floats:
    at_or_above = len(reference) - np.searchsorted(reference, scores, side="left")
    return np.asarray((1.0 + at_or_above) / (len(reference) + 1.0))


def _own(reference: Floats, scores: Floats) -> Floats:
    at_or_above = len(reference) - np.searchsorted(reference, scores, side="left")
    return np.asarray(at_or_above / (len(reference) + 1.0))
