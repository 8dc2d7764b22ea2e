"""A calibration on trial: is what it says of familiar tiles true of tiles it has not seen?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.evaluation.intervals import Share, share_of
from edge_agent.scoring.calibration import Calibration, CalibrationError, Familiar, Scored
from edge_agent.scoring.temperature import (
    Reliability,
    expected_calibration_error,
    fit_temperature,
    reliability,
    tempered,
)

Fit = Callable[[Familiar], Calibration]
Labels = npt.NDArray[np.int64]

FOLDS: Final = 5
MORE_FOLDS: Final = 20
FEW_TILES: Final = 512
"""With so few tiles, folds are many: a fifth less of them would make another calibration."""
ALPHA: Final = 0.05
_SEED: Final = 20_260


class FalseAlarms(msgspec.Struct, frozen=True):
    """How often a score calls familiar tiles unusual."""

    rate: Share
    """Share with p <= 0.05, each tile judged by a calibration that has not seen it."""
    smallest_p: float
    """Below this no p-value of the calibration can be."""


class Confidence(msgspec.Struct, frozen=True):
    """Are the probabilities right? Temperatures are fitted on one half and judged on the other."""

    temperature: float
    error_before: float
    """Expected calibration error of the probabilities as they are, 15 bins."""
    error_after: float


class Confusion(msgspec.Struct, frozen=True):
    """Tiles of one class taken for another."""

    truth: str
    predicted: str
    tiles: int


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Every familiar tile judged by a calibration fitted without its content."""

    scored: Scored
    folds: int


def held_out(familiar: Familiar, fit: Fit, names: tuple[str, ...]) -> HeldOut | None:
    """Judge each of the n tiles by a calibration of the other folds; None with too few groups.

    `names` are the scores wanted; whole groups go into one fold.

    Raises:
        CalibrationError: a fold's calibration cannot be fitted.
    """
    count = len(familiar.outputs.logits)
    fold = deal(familiar, MORE_FOLDS if count <= FEW_TILES else FOLDS)
    if len(np.unique(fold)) < 2:
        return None
    scores = {name: np.full(count, np.nan) for name in names}
    p_values = {name: np.full(count, np.nan) for name in names}
    faults: list[str | None] = [None] * count
    for number in np.unique(fold):
        inside = fold == number
        scored = fit(familiar.take(~inside)).judge(familiar.take(inside).outputs)
        for name in names:
            if name not in scored.scores:
                raise CalibrationError([f"{name} cannot be judged with fewer tiles"])
            scores[name][inside] = scored.scores[name]
            p_values[name][inside] = scored.p_values[name]
        for row, fault in zip(np.flatnonzero(inside), scored.faults, strict=True):
            faults[row] = fault
    return HeldOut(Scored(scores, p_values, tuple(faults)), len(np.unique(fold)))


def deal(familiar: Familiar, folds: int) -> Labels:
    """(n,) fold of each tile: whole groups, dealt by a fixed shuffle."""
    count = len(familiar.outputs.logits)
    groups = np.arange(count) if familiar.groups is None else familiar.groups
    _, dense = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(_SEED).permutation(int(dense.max()) + 1)
    return np.asarray(order[dense] % min(folds, len(order)), dtype=np.int64)


def false_alarms(held: HeldOut, calibration: Calibration, groups: Labels) -> dict[str, FalseAlarms]:
    """Of each score and of `ood`."""
    valid = np.array([fault is None for fault in held.scored.faults], dtype=bool)
    return {
        name: FalseAlarms(
            share_of(p_values[valid] <= ALPHA + 1e-12, groups[valid]), calibration.smallest_p(name)
        )
        for name, p_values in held.scored.p_values.items()
    }


@dataclass(frozen=True, slots=True)
class Tempered:
    """The probabilities before and after, ready to be drawn."""

    confidence: Confidence
    before: Reliability
    after: Reliability


def confidence(familiar: Familiar, temperature: float) -> Tempered | None:
    """How far confidence is from accuracy; None without labels or with one group of content."""
    labels = familiar.labels
    half = deal(familiar, 2)
    if labels is None or len(np.unique(half)) < 2:
        return None
    logits = np.asarray(familiar.outputs.logits, dtype=np.float64)
    after = np.empty_like(logits)
    for number in (0, 1):
        other = half != number
        after[~other] = tempered(logits[~other], fit_temperature(logits[other], labels[other]))
    before = tempered(logits, 1.0)
    return Tempered(
        Confidence(
            temperature=temperature,
            error_before=expected_calibration_error(before, labels),
            error_after=expected_calibration_error(after, labels),
        ),
        reliability(before, labels),
        reliability(after, labels),
    )


def confusions(guesses: Labels, labels: Labels, names: tuple[str, ...]) -> list[Confusion]:
    """Which classes are taken for which, the commonest first."""
    wrong = guesses != labels
    pairs, counts = np.unique(
        np.stack([labels[wrong], guesses[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    return [
        Confusion(names[pairs[row, 0]], names[pairs[row, 1]], int(counts[row])) for row in order
    ]
