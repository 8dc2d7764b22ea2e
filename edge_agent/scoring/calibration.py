"""Scores on held-out familiar tiles, and what they make of a new tile's score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.scoring.logits import Floats, logit_scores, usable_rows


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores of held-out familiar tiles: name -> (n,) float64, ascending."""

    sorted_scores: Mapping[str, Floats]

    @property
    def size(self) -> int:
        """n, the number of calibration tiles."""
        return max((len(scores) for scores in self.sorted_scores.values()), default=0)

    def p_values(self, name: str, scores: npt.ArrayLike) -> Floats:
        """Conformal p-values `(1 + #{calibration >= s}) / (n + 1)` of (N,) scores, in (0, 1].

        For a tile exchangeable with the calibration tiles, P(p <= a) <= a (Vovk, Gammerman and
        Shafer, "Algorithmic Learning in a Random World", 2005).

        Raises:
            KeyError: no calibration for a score of that name.
        """
        reference = self.sorted_scores[name]
        at_or_above = len(reference) - np.searchsorted(reference, scores, side="left")
        return np.asarray((1.0 + at_or_above) / (len(reference) + 1.0))

    def threshold(self, name: str, quantile: float) -> float | None:
        """The lowest calibration score from which on p <= 1 - quantile; None if n is too small.

        Smaller than what n can promise: with n tiles no p-value is below 1 / (n + 1).
        """
        reference = self.sorted_scores[name]
        allowed = int(np.floor((1.0 - quantile) * (len(reference) + 1.0) + 1e-9)) - 1
        if allowed < 0:
            return None
        # A score strictly above this one has at most `allowed` calibration scores at or above it.
        return float(reference[len(reference) - allowed - 1])


def calibrate(logits: npt.ArrayLike) -> Calibration:
    """The calibration from (n, C) logits of held-out familiar tiles; unusable rows are left out."""
    rows = np.asarray(logits, dtype=np.float64)
    usable = rows[usable_rows(rows)]
    return Calibration({name: np.sort(scores) for name, scores in logit_scores(usable).items()})
