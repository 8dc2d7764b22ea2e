"""Scores on held-out familiar tiles, and what they make of a new tile's scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Outputs
from edge_agent.scoring.conformal import Classes, Floats, Ranks, rank
from edge_agent.scoring.ensembles import member_probabilities
from edge_agent.scoring.fusion import Fusion, choose_members, fuse
from edge_agent.scoring.logits import LOGIT_SCORES, softmax
from edge_agent.scoring.references import (
    Head,
    References,
    ScoreOptions,
    faults,
    lacking,
    raw_scores,
)
from edge_agent.scoring.stand_ins import Labels, take
from edge_agent.scoring.temperature import fit_temperature

OOD: Final = "ood"
"""Name of the fused score and of its p-value."""
_ROUNDING: Final = 1e-9
_NOTHING: Final = 1e-12
"""Of a middling score: less than this is rounding."""


class CalibrationError(ValueError):
    """Arrays that make no calibration; all that is wrong with them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How scores are fitted and ranked."""

    scores: ScoreOptions = field(default_factory=ScoreOptions)
    class_minimum: int = 100
    """A predicted class with so many calibration tiles is ranked by itself."""
    fuse: tuple[str, ...] | None = None
    """Scores to fuse; None chooses them by stand-ins (see `fusion.choose_members`)."""


@dataclass(frozen=True, slots=True)
class Familiar:
    """What the model makes of n familiar tiles."""

    outputs: Outputs
    labels: Labels | None = None
    """(n,) true classes."""
    groups: Labels | None = None
    """(n,) equal numbers show the same content and are never parted."""

    def take(self, rows: npt.NDArray[np.bool_]) -> Familiar:
        """The tiles of these rows."""
        return Familiar(
            take(self.outputs, rows),
            None if self.labels is None else self.labels[rows],
            None if self.groups is None else self.groups[rows],
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores and p-values of N tiles by name, each (N,); NaN in tiles with a fault."""

    scores: Mapping[str, Floats]
    """Higher = more out-of-distribution; `ood` is the fused statistic."""
    p_values: Mapping[str, Floats]
    """In (0, 1], small = unusual; `ood` is the fused one."""
    faults: tuple[str | None, ...]
    """Why a tile is invalid, None where it is not."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """All that turns a model's outputs into scores and p-values."""

    familiar: Familiar
    """The calibration tiles, those with faults left out."""
    head: Head | None
    references: References
    trained: bool
    """Whether the references were fitted on training tiles, not on the calibration tiles."""
    options: CalibrationOptions
    own_scores: Mapping[str, Floats]
    """(n,) scores of the calibration tiles, none from references that had seen the tile."""
    ranks: Mapping[str, Ranks]
    fusion: Fusion
    nothing: Mapping[str, float]
    """Less than this in a score of features is rounding, as 1e-30 for a distance of 0."""
    stand_in_auroc: Mapping[str, float]
    temperature: float | None
    warnings: tuple[str, ...]

    @property
    def size(self) -> int:
        """n, the number of calibration tiles."""
        return len(self.familiar.outputs.logits)

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores that it can judge by, without the fused one."""
        return tuple(self.ranks)

    @property
    def lacking(self) -> Mapping[str, str]:
        """Score name -> what it lacks, of the scores that it cannot give."""
        return lacking(self.familiar.outputs, self.references)

    def smallest_p(self, name: str) -> float:
        """The smallest p-value that a tile of any class can reach by a score, or by `ood`.

        Raises:
            KeyError: no such score.
        """
        if name != OOD:
            return self.ranks[name].smallest
        # As strange as can be by every member: once for each class with ranks of its own.
        members = self.fusion.members
        least = {member: self.ranks[member].smallest_by_class() for member in members}
        return float(self.fusion.p_values(self.fusion.statistic(least)).max())

    def only(self, names: Collection[str]) -> Calibration:
        """The same with these scores alone; what is fused are the fused ones among them, or all.

        Raises:
            CalibrationError: none of them is there.
        """
        own_scores = {name: self.own_scores[name] for name in self.own_scores if name in names}
        if not own_scores:
            raise CalibrationError(["no score is left"])
        members = tuple(name for name in self.fusion.members if name in own_scores)
        return assemble(
            familiar=self.familiar,
            head=self.head,
            references=self.references,
            trained=self.trained,
            options=replace(self.options, fuse=members or tuple(own_scores)),
            own_scores=own_scores,
            stand_in_auroc=self.stand_in_auroc,
            warnings=self.warnings,
        )

    def judge(self, outputs: Outputs) -> Scored:
        """Scores and p-values of N tiles."""
        found = raw_scores(outputs, self.references, self.options.scores)
        reasons = faults(outputs)
        faulty = np.array([reason is not None for reason in reasons], dtype=bool)
        classes = predicted(outputs)
        # A tile without a score is ranked as the most familiar, and then blotted out.
        p_values = {}
        for name, ranks in self.ranks.items():
            ranked = self._lowered(name, found[name])
            p_values[name] = ranks.p_values(np.where(faulty, -np.inf, ranked), classes)
        scores = {**found, OOD: self.fusion.statistic(p_values)}
        p_values[OOD] = self.fusion.p_values(scores[OOD])
        return Scored(
            {name: np.where(faulty, np.nan, values) for name, values in scores.items()},
            {name: np.where(faulty, np.nan, values) for name, values in p_values.items()},
            tuple(reasons),
        )

    def _lowered(self, name: str, scores: Floats) -> Floats:
        """Scores of features less what their rounding may differ by between batches of two sizes.

        So that a tile that looks like a calibration tile ties with it, and is not called stranger.
        """
        if name in LOGIT_SCORES:
            return scores
        return scores - _ROUNDING * np.abs(scores) - self.nothing[name]


def uncalibrated(outputs: Outputs) -> Scored:
    """The scores that need no calibration, without p-values."""
    nothing = References(None, None, None, None)
    return Scored(raw_scores(outputs, nothing, ScoreOptions()), {}, tuple(faults(outputs)))


def probabilities(outputs: Outputs) -> Floats:
    """(N, C) class probabilities, of an ensemble the mean of its members'; NaN where faulty."""
    with np.errstate(invalid="ignore"):
        if outputs.member_logits is None:
            return softmax(outputs.logits)
        return np.asarray(member_probabilities(outputs.member_logits).mean(axis=0))


def predicted(outputs: Outputs) -> Classes:
    """(N,) predicted class; 0 where the logits say nothing."""
    logits = np.where(np.isnan(outputs.logits), -np.inf, outputs.logits)
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def assemble(
    *,
    familiar: Familiar,
    head: Head | None,
    references: References,
    trained: bool,
    options: CalibrationOptions,
    own_scores: Mapping[str, Floats],
    stand_in_auroc: Mapping[str, float],
    warnings: tuple[str, ...],
    candidates: Sequence[str] | None = None,
) -> Calibration:
    """The calibration from its fitted parts: ranks, fusion and temperature follow from them.

    `candidates` are the scores that may be fused where `options` does not name them; None: all.
    """
    classes = predicted(familiar.outputs)
    ranks = {
        name: rank(values, classes, options.class_minimum) for name, values in own_scores.items()
    }
    own = {name: ranks[name].own_p_values(own_scores[name], classes) for name in ranks}
    tiles, width = familiar.outputs.logits.shape
    members = options.fuse or choose_members(
        candidates or tuple(ranks), stand_in_auroc, classes=width, tiles=tiles
    )
    if absent := [name for name in members if name not in ranks]:
        raise CalibrationError([f"{name} cannot be fused: it is not there" for name in absent])
    labels = familiar.labels
    return Calibration(
        familiar=familiar,
        head=head,
        references=references,
        trained=trained,
        options=options,
        own_scores=own_scores,
        ranks=ranks,
        fusion=fuse(members, own),
        nothing={
            name: _NOTHING * float(np.median(np.abs(values))) for name, values in own_scores.items()
        },
        stand_in_auroc=stand_in_auroc,
        temperature=None if labels is None else fit_temperature(familiar.outputs.logits, labels),
        warnings=warnings,
    )
