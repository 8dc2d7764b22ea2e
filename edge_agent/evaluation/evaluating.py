"""A bundle's scores on familiar tiles and sets of OOD tiles: all figures, and the odd tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.evaluation.comparison import (
    FamiliarFigures,
    GroupFigures,
    Kind,
    ScoredSet,
    familiar_figures,
    group_figures,
)
from edge_agent.evaluation.honesty import (
    calibrated_on,
    conflict_notes,
    overlap_notes,
    shown,
    unreadable_notes,
)
from edge_agent.evaluation.looking import Labels, Seen
from edge_agent.scoring.calibration import (
    OOD,
    Calibration,
    Scored,
    predicted,
    probabilities,
    uncalibrated,
)

DEFINITIONS: Final[Mapping[str, str]] = {
    "auroc": "chance that an OOD tile scores above a familiar one; ties count half",
    "aupr": "average precision, OOD positive, of the tiles as they are",
    "fpr95": "share of familiar tiles at or above the threshold that finds 95 % of the OOD tiles "
    "(OOD is the positive class, as in OpenOOD v1.5)",
    "harvest": "share of OOD tiles among the top 1, 2, 5 % of all tiles compared; it grows with "
    "their prevalence, which stands beside it",
    "flight": "the same for a flight of which the stated share is OOD; no ranking can do better "
    "than that share over the budget",
    "misclassification": "AUROC of wrongly named familiar tiles against rightly named ones",
    "false_harvest": "share of familiar tiles with p at or below alpha; it should not exceed it",
    "ood": "ranked by the fused statistic, the combined p-values of the scores that it fuses; "
    "auroc_of_p is the AUROC of its p-value, which knows fewer steps",
    "intervals": "95 %: percentile bootstrap for rankings, Wilson's for shares; tiles that do not "
    "speak for themselves are drawn together: of images cut into tiles (--frames) whole images, "
    "else near-duplicates",
}


class Evaluation(msgspec.Struct, frozen=True):
    """All that is said of a bundle's scores."""

    bundle: str
    calibration_tiles: int
    fused: tuple[str, ...]
    lacking: dict[str, str]
    flight_prevalence: float
    familiar: FamiliarFigures
    groups: list[GroupFigures]
    """Each set of OOD tiles; then near, far and all of them pooled, where that is more than one."""
    definitions: dict[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stranger:
    """A set of OOD tiles and how far it is said to be."""

    seen: Seen
    kind: Kind


@dataclass(frozen=True, slots=True)
class Opinion:
    """A set with what was made of it."""

    seen: Seen
    scored: Scored
    guesses: Labels
    """(N,) predicted class."""
    confidence: npt.NDArray[np.float64]
    """(N,) probability of the predicted class."""

    @property
    def as_set(self) -> ScoredSet:
        """Scores and clusters alone."""
        return ScoredSet(self.seen.name, self.scored, self.seen.clusters)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The figures, and what plots and thumbnails are made from."""

    evaluation: Evaluation
    familiar: Opinion
    strangers: tuple[Opinion, ...]


def evaluate_bundle(
    bundle: str,
    calibration: Calibration | None,
    familiar: Seen,
    strangers: Sequence[Stranger],
    prevalence: float,
) -> Evaluated:
    """Judge every set and compare."""
    ours = _looked(familiar, calibration)
    others = [_looked(stranger.seen, calibration) for stranger in strangers]
    right = None if familiar.labels is None else ours.guesses == familiar.labels
    kinds = [stranger.kind for stranger in strangers]
    evaluation = Evaluation(
        bundle=bundle,
        calibration_tiles=0 if calibration is None else calibration.size,
        fused=() if calibration is None else calibration.fusion.members,
        lacking={} if calibration is None else dict(calibration.lacking),
        flight_prevalence=prevalence,
        familiar=familiar_figures(ours.as_set, right),
        groups=_groups(ours, others, kinds, prevalence),
        definitions=dict(DEFINITIONS),
        warnings=tuple(_warnings(calibration, familiar, strangers)),
    )
    return Evaluated(evaluation, ours, tuple(others))


def strangest(opinion: Opinion, most: int, *, familiar_looking: bool = False) -> list[int]:
    """Rows of the tiles with the highest `ood`, or with the lowest; one of each content."""
    score = OOD if OOD in opinion.scored.scores else next(iter(opinion.scored.scores))
    values = opinion.scored.scores[score]
    usable = np.flatnonzero(np.isfinite(values))
    order = usable[np.argsort(values[usable] if familiar_looking else -values[usable])]
    chosen: dict[int, int] = {}
    content = opinion.seen.content
    for row in order:
        if len(chosen) == most:
            break
        chosen.setdefault(int(content[row]), int(row))
    return list(chosen.values())


def _looked(seen: Seen, calibration: Calibration | None) -> Opinion:
    judged = uncalibrated if calibration is None else calibration.judge
    guesses = predicted(seen.outputs)
    confidence = probabilities(seen.outputs)[np.arange(len(guesses)), guesses]
    return Opinion(seen, judged(seen.outputs), guesses, confidence)


def _groups(
    ours: Opinion, others: Sequence[Opinion], kinds: Sequence[Kind], prevalence: float
) -> list[GroupFigures]:
    familiar = ours.as_set
    sets = [other.as_set for other in others]

    def pooled(name: str, kind: Kind, rows: Sequence[int]) -> GroupFigures:
        return group_figures(name, kind, familiar, [sets[row] for row in rows], prevalence)

    found = [pooled(sets[row].name, kinds[row], [row]) for row in range(len(sets))]
    if len(sets) == 1:
        return found
    for kind in ("near", "far"):
        rows = [row for row, one in enumerate(kinds) if one == kind]
        if 1 < len(rows) < len(sets):
            found.append(pooled(f"all {kind}", kind, rows))
    return [*found, pooled("all", "ood", range(len(sets)))]


def _warnings(
    calibration: Calibration | None, familiar: Seen, strangers: Sequence[Stranger]
) -> list[str]:
    found = []
    if calibration is None:
        found.append("no calibration: no p-values, no fused ood, and only scores from logits")
    else:
        found += calibration.warnings
        if (again := calibrated_on(familiar.outputs, calibration.familiar.outputs)).any():
            names = [familiar.names[row] for row in np.flatnonzero(again)]
            found.append(
                f"{len(names)} tiles of {familiar.name} are calibration tiles: figures flatter. "
                f"{shown(names)}"
            )
    found += [*familiar.notes, *unreadable_notes(familiar), *conflict_notes(familiar)]
    for stranger in strangers:
        seen = stranger.seen
        found += [*seen.notes, *unreadable_notes(seen)]
        found += overlap_notes(seen, familiar, f"in {familiar.name} too")
    return found
