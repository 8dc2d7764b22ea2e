"""Distance to the k-th nearest of a bank of familiar tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.scoring.directions import between, directions, lengths
from edge_agent.scoring.logits import Floats

Rows = npt.NDArray[np.intp]

_TILES: Final = 64
"""Tiles compared with the whole bank at a time."""
_PAIRS: Final = 1 << 13
"""Tiles and neighbours whose distance is computed at a time."""
_CLOSE: Final = 1e-6
"""Distances below this need more digits than float64 directions have."""
_GROUP: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """The features of familiar tiles, as they are and at length 1."""

    features: npt.NDArray[np.floating]
    """(B, D) as the model gave them: float32 where that holds them exactly, else float64."""
    unit: Floats = field(init=False, repr=False)
    """(B, D) at length 1."""
    columns: npt.NDArray[np.float32] = field(init=False, repr=False)
    """(D, B) the same, for the fast comparison."""
    zero: Rows = field(init=False, repr=False)
    """Rows without a direction."""

    def __post_init__(self) -> None:
        unit = directions(self.features.astype(np.float64))
        object.__setattr__(self, "unit", unit)
        object.__setattr__(self, "columns", np.ascontiguousarray(unit.T, dtype=np.float32))
        object.__setattr__(self, "zero", np.flatnonzero(~unit.any(axis=1)))


def fit_bank(features: npt.ArrayLike, labels: npt.ArrayLike | None, size: int) -> Bank:
    """A bank of at most `size` of (R, D) features, R >= 1, with (R,) labels where there are any.

    The same rows always: see `balanced_rows`.
    """
    rows = np.asarray(features, dtype=np.float64)
    every = np.zeros(len(rows), dtype=np.int64) if labels is None else np.asarray(labels)
    kept = rows[balanced_rows(every, size)]
    with np.errstate(over="ignore"):
        single = kept.astype(np.float32)
    return Bank(single if np.array_equal(single, kept) else kept)


def balanced_rows(labels: npt.NDArray[np.integer], size: int) -> Rows:
    """At most `size` of (R,) rows, ascending: as many of each class as of any other.

    No chance is in it, nor what the rows hold. Every class gets an equal share; what small classes
    leave over goes to the larger ones, single rows of it to those of the lowest labels. Within a
    class the rows are taken at even steps in the given order.
    """
    if len(labels) <= size:
        return np.arange(len(labels))
    _, counts = np.unique(labels, return_counts=True)
    shares = np.zeros(len(counts), dtype=np.int64)
    left = size
    while left:
        unmet = np.flatnonzero(shares < counts)
        each = left // len(unmet)
        if not each:  # single rows are left
            unmet, each = unmet[:left], 1
        granted = np.minimum(each, counts[unmet] - shares[unmet])
        shares[unmet] += granted
        left -= int(granted.sum())
    order = np.argsort(labels, kind="stable")
    starts = np.cumsum(counts) - counts
    chosen = [
        order[start + (2 * np.arange(share) + 1) * count // (2 * share)]
        for start, count, share in zip(starts, counts, shares, strict=True)
        if share
    ]
    return np.sort(np.concatenate(chosen))


def knn(features: npt.ArrayLike, bank: Bank, neighbours: int = 50) -> Floats:
    """(N,) Euclidean distance of (N, D) features to the k-th nearest of the bank, in [0, 2].

    Both sides are brought to length 1; a zero vector stays zero, 1 away from all but others of its
    kind. k is at most the bank's size. Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with
    Deep Nearest Neighbors", ICML 2022.
    """
    rows = np.asarray(features, dtype=np.float64)
    return distances(rows, directions(rows), bank, neighbours)


def distances(features: Floats, unit: Floats, bank: Bank, neighbours: int) -> Floats:
    """`knn` of (N, D) features that are given at length 1 as well."""
    k = min(neighbours, len(bank.unit))
    found = np.empty(len(unit))
    for start in range(0, len(unit), _TILES):
        part = slice(start, start + _TILES)
        found[part] = _kth(features[part], unit[part], bank, k)
    return found


def _kth(features: Floats, unit: Floats, bank: Bank, k: int) -> Floats:
    """Three sieves: the fast product leaves few pairs, their distances fewer, exact ones the last.

    Each keeps every pair that its own rounding could have put on the wrong side of the k-th.
    """
    depth, ranks = unit.shape[1], np.full(len(unit), k)
    tile, row, likeness = _candidates(unit, bank, k)
    tile, row, _, ranks = _around(tile, row, -likeness, ranks, 2.0 * _product_error(depth))
    distance = _by_parts(lambda part: lengths(unit[tile[part]] - bank.unit[row[part]]), len(tile))
    nearest = _ranked(tile, distance, ranks)
    close = nearest < _CLOSE
    if close.any():
        of = close[tile]
        slack = 4.0 * depth * np.finfo(np.float64).eps
        tile, row, _, ranks = _around(tile[of], row[of], distance[of], ranks, slack)
        exact = _by_parts(
            lambda part: between(features[tile[part]], bank.features[row[part]]), len(tile)
        )
        nearest[close] = _ranked(tile, exact, ranks)[close]
    return nearest


def _candidates(unit: Floats, bank: Bank, k: int) -> tuple[Rows, Rows, Floats]:
    """Tile, bank row and scalar product of all pairs that may be among the k nearest."""
    likeness = unit.astype(np.float32) @ bank.columns
    # A zero row is 1 away, as is a row at length 1 with the product 1/2 is.
    likeness[:, bank.zero] += np.float32(0.5)
    groups = likeness.shape[1] // _GROUP
    if groups > 2 * k:
        # The k-th of any k products is a bound for the k-th of all; the best of groups are near it.
        best = likeness[:, : groups * _GROUP].reshape(len(unit), _GROUP, groups).max(axis=1)
    else:
        best = likeness.copy()
    best.partition(best.shape[1] - k, axis=1)
    bound = best[:, best.shape[1] - k] - np.float32(2.0 * _product_error(unit.shape[1]))
    flat = np.flatnonzero(likeness >= bound[:, None])
    tile, row = np.divmod(flat, likeness.shape[1])
    return tile, row, likeness.ravel()[flat].astype(np.float64)


def _product_error(depth: int) -> float:
    """Bound on the error of a float32 scalar product of two rows at length 1, rounded to float32.

    Higham, "Accuracy and Stability of Numerical Algorithms", 2002, 3.1: any order of summation.
    """
    return 1.01 * (depth + 8) * 2.0**-24


def _around(
    tile: Rows, row: Rows, values: Floats, ranks: Rows, slack: float
) -> tuple[Rows, Rows, Floats, Rows]:
    """The pairs within `slack` of their tile's value of that rank, and the ranks among them."""
    middle = _ranked(tile, values, ranks)[tile]
    kept = np.abs(values - middle) <= slack
    nearer = np.bincount(tile[values < middle - slack], minlength=len(ranks))
    return tile[kept], row[kept], values[kept], ranks - nearer


def _ranked(tile: Rows, values: Floats, ranks: Rows) -> Floats:
    """(N,) each tile's value of the given rank, the lowest being 1; of no meaning without pairs.

    The pairs come in the order of their tiles.
    """
    counts = np.bincount(tile, minlength=len(ranks))
    place = np.arange(len(tile)) - (np.cumsum(counts) - counts)[tile]
    lined_up = np.full((len(ranks), int(counts.max(initial=1))), np.inf)
    lined_up[tile, place] = values
    lined_up.sort(axis=1)
    return np.asarray(lined_up[np.arange(len(ranks)), np.minimum(ranks, lined_up.shape[1]) - 1])


def _by_parts(compute: Callable[[slice], Floats], count: int) -> Floats:
    parts = [compute(slice(start, start + _PAIRS)) for start in range(0, count, _PAIRS)]
    return np.concatenate(parts)
