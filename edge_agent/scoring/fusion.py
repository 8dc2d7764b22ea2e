"""Several p-values of a tile into one, `ood`, which is again a valid p-value.

No score sees everything, and which is best changes with the training recipe. So the evidence of
several kinds of score is added up: `-2 ln p`, as Fisher (1932) does, mostly of the more surprised
half of them (after the rank truncated product of Dudbridge and Koeleman 2003), so that a member
that sees nothing does not drown one that does. The scores depend on each other, so the sum has no
known distribution: it is ranked again among the calibration tiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_agent.scoring.conformal import Floats, upper_share

KINDS: Final = (
    "energy",
    "gen",
    "fdbd",
    "knn",
    "mahalanobis_pp",
    "rmds_pp",
    "vim",
    "ensemble_mutual_information",
)
"""One score per kind of evidence: size of the logits, spread of the probabilities, distance to
the decision boundaries, local density, distance to the classes as a whole (for what is far), the
same less what all tiles share (for what is near), what the head does not see, and disagreement.
The other scores are close relatives of one of these."""

CALM_WEIGHT: Final = 0.25
"""Of the members that are less surprised."""
WEAK_BY: Final = 0.05
WEAK_BY_CHANCE: Final = 0.5
"""A member whose AUROC on stand-ins is `weak_by(n)` below the best member's is left out."""
WIDENED_BELOW: Final = 100
"""With fewer calibration tiles a p-value is the upper bound of what the tiles allow."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """Which scores are fused, and the fused statistic of the calibration tiles, ascending."""

    members: tuple[str, ...]
    reference: Floats
    """(n,)"""
    table: Floats
    """(n + 1,) p-value by the number of calibration tiles at or above."""

    def statistic(self, p_values: Mapping[str, Floats]) -> Floats:
        """(N,) fused statistic of p-values by score name; higher = more out-of-distribution."""
        return statistic(p_values, self.members)

    def p_values(self, statistics: Floats) -> Floats:
        """(N,) p-values of fused statistics.

        Exactly valid for tiles exchangeable with the calibration tiles: each calibration tile is
        ranked with itself held out, at the smallest p-values it could have had with the new tile
        among the others, so its statistic is never below what full conformal prediction gives it.
        """
        # Sums of the same logarithms may differ in their last bits: count those as equal.
        lowered = statistics - 1e-9 * np.maximum(np.abs(statistics), 1.0)
        at_or_above = len(self.reference) - np.searchsorted(self.reference, lowered, side="left")
        return np.asarray(self.table[at_or_above])


def fuse(members: Sequence[str], own_p_values: Mapping[str, Floats]) -> Fusion:
    """The fusion of `members`, calibrated on the calibration tiles' own p-values, each (n,)."""
    reference = np.sort(statistic(own_p_values, members))
    count = len(reference)
    if count < WIDENED_BELOW:
        table = [upper_share(count, above) for above in range(count + 1)]
    else:
        table = [(1.0 + above) / (count + 1.0) for above in range(count + 1)]
    return Fusion(tuple(members), reference, np.array(table))


def statistic(p_values: Mapping[str, Floats], members: Sequence[str]) -> Floats:
    """(N,) `-2 sum ln p` over the half of the members with the smallest p-values.

    The other half counts for a quarter: it tells tiles apart to which the first half gives the
    smallest p-values that there are.
    """
    surprises = np.sort(np.stack([-2.0 * np.log(p_values[name]) for name in members]), axis=0)
    half = len(members) // 2
    return np.asarray(surprises[half:].sum(axis=0) + CALM_WEIGHT * surprises[:half].sum(axis=0))


FEW_CLASSES: Final = 3
"""With fewer, class and global covariance differ in one direction at most, and rmds_pp, their
difference, sees nothing else."""


def weak_by(tiles: int) -> float:
    """How far below the best a member's AUROC may be; more where few tiles tell by chance."""
    return WEAK_BY + WEAK_BY_CHANCE / float(np.sqrt(max(tiles, 1)))


def choose_members(
    present: Sequence[str], stand_in_auroc: Mapping[str, float], *, classes: int, tiles: int
) -> tuple[str, ...]:
    """The scores to fuse, chosen without any out-of-distribution tile.

    One score per kind of evidence, less those that find stand-ins much worse than the best does.
    Where no score of a kind is present, all that are present are candidates.
    """
    blind = {"rmds_pp"} if classes < FEW_CLASSES else set()
    candidates = [name for name in KINDS if name in present and name not in blind] or list(present)
    best = max((stand_in_auroc.get(name, 0.0) for name in candidates), default=0.0)
    least = best - weak_by(tiles)
    return tuple(name for name in candidates if stand_in_auroc.get(name, best) >= least)
