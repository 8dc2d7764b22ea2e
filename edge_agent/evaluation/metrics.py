"""Figures of a ranking: OOD tiles are the positives, and a higher score means stranger.

A ranking is kept as counts per distinct score, highest first. Every figure takes counts of shape
(B, G), B resamples of a ranking with G distinct scores, and gives (B,): the figure itself and its
bootstrap are one calculation. A figure that has no answer (no positives, no negatives) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]


class Counts:
    """(B, G) negatives and positives of each score, highest first, and what all figures need."""

    def __init__(self, negatives: Floats, positives: Floats) -> None:
        self.negatives, self.positives = negatives, positives
        self.passed = np.cumsum(negatives, axis=1)
        """(B, G) negatives at or above each score."""
        self.found = np.cumsum(positives, axis=1)
        """(B, G) positives at or above each score."""
        draws = len(negatives)
        empty = np.zeros(draws)
        self.all_negatives = self.passed[:, -1] if self.passed.shape[1] else empty
        self.all_positives = self.found[:, -1] if self.found.shape[1] else empty


Figure: TypeAlias = Callable[[Counts], Floats]
"""(B, G) counts -> (B,)."""

BUDGETS: Final = (0.01, 0.02, 0.05)
FOUND: Final = 0.95


@dataclass(frozen=True, slots=True)
class Ranking:
    """Which of G distinct scores, highest first, each tile has; tiles without a score left out."""

    negatives: npt.NDArray[np.intp]
    """(n,) positions of the negatives, familiar tiles."""
    positives: npt.NDArray[np.intp]
    """(m,) positions of the positives, OOD tiles."""
    levels: int
    """G."""

    def counts(self) -> Counts:
        """(1, G) negatives and positives of each score."""
        return Counts(
            np.bincount(self.negatives, minlength=self.levels)[None].astype(np.float64),
            np.bincount(self.positives, minlength=self.levels)[None].astype(np.float64),
        )


def rank(negatives: npt.ArrayLike, positives: npt.ArrayLike) -> Ranking:
    """The ranking of two sets of scores; NaN is a tile without a score and must be left out before.

    Raises:
        ValueError: a score is NaN.
    """
    low = np.asarray(negatives, dtype=np.float64)
    high = np.asarray(positives, dtype=np.float64)
    pooled = np.concatenate([low, high])
    if np.isnan(pooled).any():
        raise ValueError("a tile without a score cannot be ranked")
    levels, place = np.unique(pooled, return_inverse=True)
    place = len(levels) - 1 - place
    return Ranking(place[: len(low)], place[len(low) :], len(levels))


def auroc(counts: Counts) -> Floats:
    """Chance that an OOD tile scores above a familiar one; ties count half.

    Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 1982.
    """
    # What an OOD tile does not beat are the familiar ones above it, and half its ties.
    beaten_by = np.einsum("bg,bg->b", counts.positives, counts.passed)
    ties = np.einsum("bg,bg->b", counts.positives, counts.negatives)
    pairs = counts.all_negatives * counts.all_positives
    return _share(pairs - beaten_by + ties / 2, pairs)


def aupr(counts: Counts) -> Floats:
    """Average precision, OOD positive: the precision at each threshold, weighted by the recall
    that it adds, as `sklearn.metrics.average_precision_score`; no interpolation."""
    # Where nothing is taken yet, nothing is gained either.
    precision = counts.found / np.maximum(counts.found + counts.passed, 1e-300)
    gained = np.einsum("bg,bg->b", counts.positives, precision)
    return np.where(counts.all_negatives > 0, _share(gained, counts.all_positives), np.nan)


def fpr95(counts: Counts) -> Floats:
    """Share of familiar tiles at or above the threshold at which 95 % of the OOD tiles are found.

    OOD is the positive class, as in OpenOOD v1.5 (Zhang et al. 2023): the highest threshold with
    a true-positive rate of at least 0.95.
    """
    wanted = FOUND * counts.all_positives
    passed = _at(counts.passed, _first_at_least(counts.found, wanted * (1 - 1e-12)))
    share = _share(passed, counts.all_negatives)
    return np.where(counts.all_positives > 0, share, np.nan)


def harvest_precision(counts: Counts, *, budget: float) -> Floats:
    """Share of OOD tiles among the top `budget` of all tiles, the positives and negatives pooled.

    The budget is whole tiles, rounded down, at least one. Where it ends among tiles of equal
    score, they are drawn by lot: the figure is the expectation.
    """
    everything = counts.all_negatives + counts.all_positives
    tiles = np.maximum(np.floor(budget * everything + 1e-9), 1.0)
    return _precision_of_top(counts, tiles, 1.0, 1.0)


def harvest_precision_at(counts: Counts, *, budget: float, prevalence: float) -> Floats:
    """The same for a flight of which a share `prevalence` is OOD, whatever the sets' sizes.

    No ranking can do better than min(1, prevalence / budget).
    """
    amount = np.full(len(counts.negatives), budget)
    negative = (1.0 - prevalence) / np.maximum(counts.all_negatives, 1.0)
    positive = prevalence / np.maximum(counts.all_positives, 1.0)
    return _precision_of_top(counts, amount, negative, positive)


RANKING_FIGURES: Final[Mapping[str, Figure]] = MappingProxyType(
    {"auroc": auroc, "aupr": aupr, "fpr95": fpr95}
    | {f"harvest_{100 * b:g}": partial(harvest_precision, budget=b) for b in BUDGETS}
)
"""Name -> figure; harvest_2 is the harvest precision at a budget of 2 %."""


def flight_figures(prevalence: float) -> dict[str, Figure]:
    """The harvest precisions of a flight with this share of OOD tiles."""
    return {
        f"flight_{100 * budget:g}": partial(
            harvest_precision_at, budget=budget, prevalence=prevalence
        )
        for budget in BUDGETS
    }


def roc_curve(ranking: Ranking) -> tuple[Floats, Floats]:
    """Shares of the negatives and of the positives at or above each score, from (0, 0) to (1, 1).

    Empty sides give NaN.
    """
    counts = ranking.counts()
    rates = []
    for above in (counts.passed[0], counts.found[0]):
        total = above[-1] if len(above) else 0.0
        rates.append(np.concatenate([[0.0], _share(above, np.full(len(above), total))]))
    return rates[0], rates[1]


def _precision_of_top(
    counts: Counts, amount: Floats, negative: Floats | float, positive: Floats | float
) -> Floats:
    """OOD's share of the highest `amount` (B,), a tile weighing so much; the last score is taken
    in part."""
    both = (counts.all_negatives > 0) & (counts.all_positives > 0)
    if not both.any():
        return np.full(len(both), np.nan)
    negative, positive = (
        np.broadcast_to(negative, both.shape),
        np.broadcast_to(positive, both.shape),
    )
    taken = counts.passed * negative[:, None] + counts.found * positive[:, None]
    last = _first_at_least(taken, amount * (1 - 1e-12))
    found = _at(counts.found, last) * positive
    own = _at(counts.positives, last) * positive
    size = own + _at(counts.negatives, last) * negative
    too_many = np.maximum(_at(taken, last) - amount, 0.0)
    return np.where(both, (found - own * _share(too_many, size)) / amount, np.nan)


def _first_at_least(rising: Floats, wanted: Floats) -> npt.NDArray[np.intp]:
    """(B,) the first column that reaches `wanted` (B,)."""
    if not rising.shape[1]:
        return np.zeros(len(rising), dtype=np.intp)
    return np.asarray((rising >= wanted[:, None]).argmax(axis=1))


def _at(values: Floats, column: npt.NDArray[np.intp]) -> Floats:
    """(B,): the value of each row in its column."""
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    return np.asarray(values[np.arange(len(values)), column])


def _share(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where there is nothing."""
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
