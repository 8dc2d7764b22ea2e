"""Conformal p-values: how a tile's score ranks among familiar tiles.

Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; class-conditional
(Mondrian) after their chapter 4.5, with the predicted class as the category: it is known for a new
tile, the true class is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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

    rest: Floats
    """(n_r,) of all classes that are not in `by_class`; of all tiles where none is left."""
    by_class: Mapping[int, Floats]
    """Predicted class -> (n_c,)."""

    def p_values(self, scores: Floats, classes: Classes) -> Floats:
        """(N,) p-values `(1 + #{calibration >= s}) / (n + 1)`, in (0, 1]; ties count as above.

        For a tile exchangeable with the calibration tiles, P(p <= a) <= a, within each class of
        `by_class`, within the rest, and so over all.
        """
        p = _ranked(self.rest, scores)
        for number, reference in self.by_class.items():
            of_class = classes == number
            p[of_class] = _ranked(reference, scores[of_class])
        return p

    def own_p_values(self, scores: Floats, classes: Classes) -> Floats:
        """(n,) p-values of the calibration tiles themselves, each ranked among the others.

        `#{calibration >= s} / (n + 1)`, the tile itself counted: the smallest p-value that it
        could have had with any further tile among the others.
        """
        p = _own(self.rest, scores)
        for number, reference in self.by_class.items():
            of_class = classes == number
            p[of_class] = _own(reference, scores[of_class])
        return p

    def smallest_by_class(self) -> Floats:
        """The smallest p-values: of the rest, and of each class with ranks of its own."""
        sizes = [len(self.rest), *(len(own) for own in self.by_class.values())]
        return np.asarray(1.0 / (np.array(sizes, dtype=np.float64) + 1.0))

    @property
    def smallest(self) -> float:
        """The smallest p-value that a tile of any class can reach."""
        return float(self.smallest_by_class().max())


def rank(scores: Floats, classes: Classes, class_minimum: int) -> Ranks:
    """The ranks of (n,) calibration scores; classes with `class_minimum` tiles get their own.

    The others are ranked among each other, and not among all: where the large classes are easy,
    a hard small class would break the promise. If together they are too few, the smallest of the
    large classes join them.
    """
    counts = np.bincount(classes) if len(classes) else np.zeros(0, dtype=np.int64)
    least = max(class_minimum, 1)
    large = [
        int(number) for number in np.argsort(-counts, kind="stable") if counts[number] >= least
    ]
    left = len(classes) - int(counts[large].sum())
    while large and 0 < left < least:
        left += int(counts[large.pop()])
    rest = ~np.isin(classes, large)
    return Ranks(
        np.sort(scores[rest] if rest.any() else scores),
        {number: np.sort(scores[classes == number]) for number in large},
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
    ways = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        for k in range(at_or_above + 1)
    ]
    low, high = at_or_above / count, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _binomial_at_most(ways, count, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def _binomial_at_most(log_ways: Sequence[float], count: int, share: float) -> float:
    """P(at most len(log_ways) - 1 of `count` fall into `share`)."""
    if share >= 1.0:
        return 0.0
    log_share, log_rest = math.log(max(share, 1e-300)), math.log1p(-share)
    return math.fsum(
        math.exp(ways + k * log_share + (count - k) * log_rest) for k, ways in enumerate(log_ways)
    )


def _ranked(reference: Floats, scores: Floats) -> Floats:
    at_or_above = len(reference) - np.searchsorted(reference, scores, side="left")
    return np.asarray((1.0 + at_or_above) / (len(reference) + 1.0))


def _own(reference: Floats, scores: Floats) -> Floats:
    at_or_above = len(reference) - np.searchsorted(reference, scores, side="left")
    return np.asarray(at_or_above / (len(reference) + 1.0))
