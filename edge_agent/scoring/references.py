"""All scores of a model's outputs, and what those need that have to be fitted first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Outputs
from edge_agent.scoring.directions import directions
from edge_agent.scoring.ensembles import (
    ENSEMBLE_SCORES,
    entropy_of_mean,
    member_probabilities,
    mutual_information,
)
from edge_agent.scoring.faults import blanked
from edge_agent.scoring.faults import faults as faults
from edge_agent.scoring.fdbd import Boundaries, fdbd, fit_boundaries
from edge_agent.scoring.logits import LOGIT_SCORES, Floats, logit_scores, taken_apart
from edge_agent.scoring.mahalanobis import (
    Gaussians,
    class_distance,
    fit_gaussians,
    global_distance,
)
from edge_agent.scoring.neighbours import Bank, distances, fit_bank
from edge_agent.scoring.shapes import Array, check_fitted, check_fitting, check_outputs
from edge_agent.scoring.vim import NullSpace, fit_null_space, vim

SCORE_NAMES: Final = (
    *LOGIT_SCORES,
    "mahalanobis_pp",
    "rmds_pp",
    "knn",
    "vim",
    "fdbd",
    *ENSEMBLE_SCORES,
)
_LARGEST: Final = 1e100
"""Of a feature to fit on: squares and their sums stay finite."""
_HEAD: Final = "features of familiar tiles and the weights of the last layer"
_FEATURE_SCORES: Final = {
    "mahalanobis_pp": ("mahalanobis", "features and labels of familiar tiles"),
    "rmds_pp": ("mahalanobis", "features and labels of familiar tiles"),
    "knn": ("neighbours", "features of familiar tiles"),
    "vim": ("vim", _HEAD),
    "fdbd": ("fdbd", _HEAD),
}
"""Score -> the reference that it needs and what that is fitted from."""


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What may be chosen about the scores.

    Raises:
        ValueError: a value out of range.
    """

    neighbours: int = 50
    """k of knn, at least 1; at most the bank's size."""
    vim_dimension: int | None = None
    """Of ViM's principal space, at most D; None: the paper's rule (64 for D = 128)."""
    gen_power: float = 0.1
    """Above 0."""
    gen_classes: int = 10
    """The M most probable classes that gen looks at, at least 1."""
    bank_size: int = 4096
    """Most familiar tiles that knn compares with, at least 1."""

    def __post_init__(self) -> None:
        low = ("neighbours", "gen_classes", "bank_size")
        wrong = [name for name in low if getattr(self, name) < 1]
        if self.vim_dimension is not None and self.vim_dimension < 0:
            wrong.append("vim_dimension")
        if not 0 < self.gen_power < math.inf:
            wrong.append("gen_power")
        if wrong:
            raise ValueError(f"out of range: {', '.join(wrong)}")


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The last linear layer: logits = features @ weight.T + bias."""

    weight: Floats
    """(C, D)"""
    bias: Floats
    """(C,)"""


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """What was fitted for the scores that need it; None for what could not be."""

    mahalanobis: Gaussians | None = None
    """For mahalanobis_pp and rmds_pp."""
    neighbours: Bank | None = None
    vim: NullSpace | None = None
    fdbd: Boundaries | None = None

    def arrays(self) -> dict[str, npt.NDArray[np.floating]]:
        """All of it by names like `mahalanobis/means`; float64, the bank as its features were."""
        return {
            f"{part}/{name}": getattr(fitted, name)
            for part, kind in _KINDS.items()
            if (fitted := getattr(self, part)) is not None
            for name in _names(kind)
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> References:
        """The references of `arrays()`, which score to the last bit as those did.

        Arrays of other names are not looked at; a part none of whose arrays is there is None.

        Raises:
            MisfitError: a part lacks an array, or one is of the wrong kind or shape or not finite.
        """
        found = {
            part: {name: arrays.get(f"{part}/{name}") for name in _names(kind)}
            for part, kind in _KINDS.items()
        }
        present = {
            part: members
            for part, members in found.items()
            if any(array is not None for array in members.values())
        }
        check_fitted({f"{p}/{n}": array for p, m in present.items() for n, array in m.items()})
        return References(
            **{
                part: _KINDS[part](**{name: _laid_out(array) for name, array in members.items()})
                for part, members in present.items()
            }
        )

    @property
    def depth(self) -> int | None:
        """D, the length of the features; None where nothing is fitted."""
        if self.neighbours is not None:
            return int(self.neighbours.features.shape[1])
        fitted = self.mahalanobis or self.fdbd
        if fitted is not None:
            return len(fitted.centre)
        return None if self.vim is None else len(self.vim.origin)

    @property
    def classes(self) -> int | None:
        """C of the last layer; None where nothing is fitted that depends on it."""
        return None if self.fdbd is None else len(self.fdbd.separation)


_KINDS: Final[Mapping[str, type]] = {
    "mahalanobis": Gaussians,
    "neighbours": Bank,
    "vim": NullSpace,
    "fdbd": Boundaries,
}


def fit_references(
    features: npt.ArrayLike | None,
    labels: npt.ArrayLike | None,
    head: Head | None,
    options: ScoreOptions,
) -> References:
    """From (R, D) features of familiar tiles, their (R,) labels and the last layer, where known.

    Rows with values that are not finite or beyond 1e100 are left out; without any row nothing is
    fitted.

    Raises:
        MisfitError: shapes that do not fit together, negative labels, or a layer not finite.
    """
    if features is None:
        return References()
    given = np.asarray(features, dtype=np.float64)
    known = None if labels is None else np.asarray(labels)
    check_fitting(given, known, None if head is None else (head.weight, head.bias))
    usable = (np.abs(given) <= _LARGEST).all(axis=1)
    if not usable.any():
        return References()
    rows = given[usable]
    known = None if known is None else known[usable]
    return References(
        mahalanobis=None if known is None else fit_gaussians(rows, known),
        neighbours=fit_bank(rows, known, options.bank_size),
        vim=None if head is None else fit_null_space(rows, head.weight, head.bias),
        fdbd=None if head is None else fit_boundaries(rows, head.weight),
    )


def raw_scores(
    outputs: Outputs, references: References, options: ScoreOptions
) -> dict[str, Floats]:
    """Every score that the outputs and the references allow, (N,) each, in `SCORE_NAMES`' order.

    NaN exactly in the rows that have a fault (`faults`), which touch no other row; finite in all
    others.

    Raises:
        MisfitError: outputs that do not fit together, or not the references.
    """
    check_outputs(outputs, references.depth, references.classes)
    faulty = np.array([fault is not None for fault in faults(outputs)], dtype=bool)
    apart = taken_apart(blanked(outputs.logits, faulty))
    scores = logit_scores(apart, gen_power=options.gen_power, gen_classes=options.gen_classes)
    if outputs.features is not None:
        features = blanked(outputs.features, faulty)
        unit = directions(features)
        if (gaussians := references.mahalanobis) is not None:
            scores["mahalanobis_pp"] = class_distance(unit, gaussians)
            scores["rmds_pp"] = scores["mahalanobis_pp"] - global_distance(unit, gaussians)
        if (bank := references.neighbours) is not None:
            scores["knn"] = distances(features, unit, bank, options.neighbours)
        if references.vim is not None:
            scores["vim"] = vim(features, apart, references.vim, options.vim_dimension)
        if references.fdbd is not None:
            scores["fdbd"] = fdbd(features, apart, references.fdbd)
    if outputs.member_logits is not None:
        members = member_probabilities(blanked(outputs.member_logits, faulty))
        scores["ensemble_entropy"] = entropy_of_mean(members)
        scores["ensemble_mutual_information"] = mutual_information(members)
    if faulty.any():
        for values in scores.values():
            values[faulty] = np.nan
    return scores


def lacking(outputs: Outputs, references: References) -> dict[str, str]:
    """Scores that `raw_scores` leaves out -> what is lacking for them, in words."""
    missing = {}
    for score, (part, source) in _FEATURE_SCORES.items():
        needs = [] if outputs.features is not None else ["the model's embedding of each tile"]
        if getattr(references, part) is None:
            needs.append(source)
        if needs:
            missing[score] = ", ".join(needs)
    if outputs.member_logits is None:
        missing |= dict.fromkeys(SCORE_NAMES[-2:], "an ensemble: the logits of each member")
    return missing


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.init]


def _laid_out(array: Array | None) -> npt.NDArray[np.floating]:
    """As it was when fitted: rounding depends on the layout, too."""
    return np.ascontiguousarray(array)
