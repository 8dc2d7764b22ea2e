"""How sure is a figure? Intervals for shares and for rankings; all randomness is seeded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.evaluation.metrics import Counts, Figure, Floats, Ranking

Clusters = npt.NDArray[np.int64]
"""(n,) tiles of one number do not speak for themselves alone: one frame, or the same content."""

DRAWS: Final = 1000
SEED: Final = 20_260
LEVEL: Final = 0.95
_Z: Final = 1.959963984540054
"""97.5 % quantile of the normal distribution."""
_COUNTS_AT_ONCE: Final = 1 << 21
_MOST_LEVELS: Final = 2048
"""Longer rankings are resampled with neighbouring scores counted as ties: an interval does not
notice, and a hundred thousand tiles take seconds."""


class Estimate(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval; None where it has no answer."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Share(msgspec.Struct, frozen=True):
    """How many of how many, with a 95 % interval of the share."""

    count: int
    of: int
    value: float | None
    low: float
    high: float


def wilson(count: float, of: float) -> tuple[float, float]:
    """95 % score interval of a share; (0, 1) of nothing.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
    """
    if of <= 0:
        return 0.0, 1.0
    share, square = count / of, _Z * _Z / of
    middle = share + square / 2
    spread = _Z * math.sqrt(max(share * (1 - share), 0.0) / of + square / (4 * of))
    low, high = (middle - spread) / (1 + square), (middle + spread) / (1 + square)
    return max(0.0, low), min(1.0, high)


def share_of(hits: npt.NDArray[np.bool_], clusters: Clusters | None = None) -> Share:
    """The share of hits. Tiles of one cluster count as if all of them said the same.

    The size behind the interval is then Kish's effective one, (sum m)^2 / sum m^2 for clusters of
    m tiles ("Survey Sampling", 1965, for a correlation of 1): wide rather than wrong.
    """
    count, of = int(hits.sum()), len(hits)
    if not of:
        return Share(0, 0, None, 0.0, 1.0)
    effective = float(of)
    if clusters is not None:
        sizes = np.unique(clusters, return_counts=True)[1].astype(np.float64)
        effective = float(sizes.sum() ** 2 / (sizes**2).sum())
    low, high = wilson(count / of * effective, effective)
    return Share(count, of, count / of, low, high)


def estimates(
    ranking: Ranking,
    figures: Mapping[str, Figure],
    clusters: tuple[Clusters, Clusters] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Estimate]:
    """Each figure with its percentile bootstrap interval, negatives and positives drawn apart.

    Whole clusters are drawn, not tiles; a side with one cluster says nothing of how sure it is,
    and the intervals are then None. Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.
    """
    values = {name: float(figure(ranking.counts())[0]) for name, figure in figures.items()}
    sides = _clusters_of(ranking, clusters)
    told = all(len(np.unique(side)) > 1 for side in sides)
    if not told or not draws:
        return {name: Estimate(_known(value)) for name, value in values.items()}
    drawn: dict[str, list[Floats]] = {name: [] for name in figures}
    generator = np.random.default_rng(seed)
    for counts in _resampled(_coarse(ranking), sides, draws, generator):
        for name, figure in figures.items():
            drawn[name].append(figure(counts))
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    return {
        name: _estimate(values[name], np.nanpercentile(np.concatenate(parts), tails))
        if np.isfinite(values[name])
        else Estimate(None)
        for name, parts in drawn.items()
    }


def _estimate(value: float, ends: Floats) -> Estimate:
    return Estimate(value, float(ends[0]), float(ends[1]))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _clusters_of(
    ranking: Ranking, clusters: tuple[Clusters, Clusters] | None
) -> tuple[Clusters, Clusters]:
    if clusters is not None:
        return clusters
    return np.arange(len(ranking.negatives)), np.arange(len(ranking.positives))


def _coarse(ranking: Ranking) -> Ranking:
    """The ranking with at most so many distinct scores, about equally many tiles on each."""
    if ranking.levels <= _MOST_LEVELS:
        return ranking
    counts = ranking.counts()
    above = (counts.passed + counts.found)[0]
    level = np.minimum((above * (_MOST_LEVELS / above[-1])).astype(np.intp), _MOST_LEVELS - 1)
    return Ranking(level[ranking.negatives], level[ranking.positives], _MOST_LEVELS)


def _resampled(
    ranking: Ranking,
    sides: tuple[Clusters, Clusters],
    draws: int,
    generator: np.random.Generator,
) -> Iterator[Counts]:
    """Counts of both sides, a bounded number of draws at once."""
    width = max(ranking.levels, len(ranking.negatives), len(ranking.positives))
    at_once = max(1, _COUNTS_AT_ONCE // width)
    low = _Side(ranking.negatives, sides[0], ranking.levels)
    high = _Side(ranking.positives, sides[1], ranking.levels)
    for first in range(0, draws, at_once):
        count = min(at_once, draws - first)
        yield Counts(low.draw(count, generator), high.draw(count, generator))


class _Side:
    """One stratum's tiles in the order of their scores, with the clusters they belong to."""

    def __init__(self, places: npt.NDArray[np.intp], clusters: Clusters, levels: int) -> None:
        order = np.argsort(places, kind="stable")
        _, cluster = np.unique(clusters, return_inverse=True)
        self._cluster = cluster[order]
        self._count = int(cluster.max()) + 1
        self._level, self._starts = np.unique(places[order], return_index=True)
        self._levels = levels

    def draw(self, count: int, generator: np.random.Generator) -> Floats:
        """(count, G): how often tiles of each score came when clusters were drawn."""
        drawn = generator.integers(0, self._count, (count, self._count))
        drawn += self._count * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * self._count)
        tiles = times.reshape(count, self._count)[:, self._cluster]
        out = np.zeros((count, self._levels))
        out[:, self._level] = np.add.reduceat(tiles, self._starts, axis=1)
        return out
