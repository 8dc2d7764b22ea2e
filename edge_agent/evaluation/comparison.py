"""Familiar tiles against sets of OOD tiles: what each score is worth. Scores in, figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.evaluation.intervals import Clusters, Estimate, Share, estimates, share_of
from edge_agent.evaluation.metrics import RANKING_FIGURES, auroc, flight_figures, rank
from edge_agent.scoring.calibration import Scored

Kind = Literal["near", "far", "ood"]

ALPHAS: Final = (0.01, 0.02, 0.05)


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """A set of N tiles and what the calibration says of them."""

    name: str
    scored: Scored
    clusters: Clusters
    """(N,)"""

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """(N,) tiles that have scores."""
        return np.array([fault is None for fault in self.scored.faults], dtype=bool)


class ScoreFigures(msgspec.Struct, frozen=True):
    """What one score is worth against one group of OOD tiles."""

    figures: dict[str, Estimate]
    """auroc, aupr, fpr95, harvest_1 ... of the tiles as they are, flight_1 ... of a flight."""
    auroc_of_p: Estimate | None
    """The same ranking by the p-value, which knows fewer steps than the score."""
    found: dict[str, Share]
    """alpha -> share of OOD tiles with p <= alpha."""


class GroupFigures(msgspec.Struct, frozen=True):
    """One set of OOD tiles, or several pooled."""

    name: str
    kind: Kind
    sets: tuple[str, ...]
    tiles: int
    invalid: int
    """Tiles without scores; they are in no figure."""
    prevalence: float | None
    """Share of OOD tiles among all tiles compared here."""
    scores: dict[str, ScoreFigures]


class FamiliarFigures(msgspec.Struct, frozen=True):
    """The familiar tiles by themselves."""

    name: str
    tiles: int
    invalid: int
    accuracy: Share | None
    """None where the set has no labels."""
    misclassification: dict[str, Estimate]
    """Score -> AUROC of wrongly named tiles against rightly named ones."""
    false_harvest: dict[str, dict[str, Share]]
    """Score -> alpha -> share of familiar tiles with p <= alpha."""


def familiar_figures(familiar: ScoredSet, right: npt.NDArray[np.bool_] | None) -> FamiliarFigures:
    """What the scores make of familiar tiles; `right` (N,) says which are named rightly."""
    valid, scored = familiar.valid, familiar.scored
    misclassification = {}
    if right is not None:
        for name, values in scored.scores.items():
            good, bad = valid & right, valid & ~right
            ranking = rank(values[good], values[bad])
            clusters = (familiar.clusters[good], familiar.clusters[bad])
            misclassification[name] = estimates(ranking, {"auroc": auroc}, clusters)["auroc"]
    return FamiliarFigures(
        name=familiar.name,
        tiles=len(valid),
        invalid=int((~valid).sum()),
        accuracy=None if right is None else share_of(right, familiar.clusters),
        misclassification=misclassification,
        false_harvest={
            name: _at_or_below(values, valid, familiar.clusters)
            for name, values in scored.p_values.items()
        },
    )


def group_figures(
    name: str, kind: Kind, familiar: ScoredSet, strangers: Sequence[ScoredSet], prevalence: float
) -> GroupFigures:
    """Familiar tiles against one set, or against several as one; `prevalence` is of a flight."""
    valid = np.concatenate([one.valid for one in strangers])
    clusters = _apart([one.clusters for one in strangers])
    ours = familiar.valid
    figures = {}
    for score in familiar.scored.scores:
        values = _pooled([one.scored.scores for one in strangers], score)
        p_values = None
        if score in familiar.scored.p_values:
            p_values = _pooled([one.scored.p_values for one in strangers], score)
        sides = (familiar.clusters[ours], clusters[valid])
        ranking = rank(familiar.scored.scores[score][ours], values[valid])
        found = {} if p_values is None else _at_or_below(p_values, valid, clusters)
        figures[score] = ScoreFigures(
            figures=estimates(ranking, {**RANKING_FIGURES, **flight_figures(prevalence)}, sides),
            auroc_of_p=None
            if p_values is None
            else _auroc_of_p(familiar.scored.p_values[score][ours], p_values[valid], sides),
            found=found,
        )
    both = int(ours.sum()) + int(valid.sum())
    return GroupFigures(
        name=name,
        kind=kind,
        sets=tuple(one.name for one in strangers),
        tiles=len(valid),
        invalid=int((~valid).sum()),
        prevalence=int(valid.sum()) / both if both else None,
        scores=figures,
    )


def _auroc_of_p(
    familiar: npt.NDArray[np.float64],
    strangers: npt.NDArray[np.float64],
    clusters: tuple[Clusters, Clusters],
) -> Estimate:
    return estimates(rank(-familiar, -strangers), {"auroc": auroc}, clusters)["auroc"]


def _at_or_below(
    p_values: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_], clusters: Clusters
) -> dict[str, Share]:
    return {
        f"{alpha:g}": share_of(p_values[valid] <= alpha + 1e-12, clusters[valid])
        for alpha in ALPHAS
    }


def _pooled(
    parts: Sequence[Mapping[str, npt.NDArray[np.float64]]], name: str
) -> npt.NDArray[np.float64]:
    return np.concatenate([part[name] for part in parts])


def _apart(parts: Sequence[Clusters]) -> Clusters:
    """The clusters of several sets, none in two of them."""
    found, shift = [], 0
    for part in parts:
        found.append(part + shift)
        shift += int(part.max()) + 1 if len(part) else 0
    return np.concatenate(found)
