"""All scores of a model's outputs, and what those need that have to be fitted first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Outputs
from edge_agent.scoring.directions import directions
from edge_agent.scoring.ensembles import (
    entropy_of_mean,
    member_probabilities,
    mutual_information,
)
from edge_agent.scoring.fdbd import Boundaries, fdbd, fit_boundaries
from edge_agent.scoring.logits import LOGIT_SCORES, Floats, logit_scores, taken_apart
from edge_agent.scoring.mahalanobis import (
    Gaussians,
    class_distance,
    fit_gaussians,
    global_distance,
)
from edge_agent.scoring.neighbours import Bank, distances, fit_bank
from edge_agent.scoring.vim import NullSpace, fit_null_space, vim

SCORE_NAMES: Final = (
    *LOGIT_SCORES,
    "mahalanobis_pp",
    "rmds_pp",
    "knn",
    "vim",
    "fdbd",
    "ensemble_entropy",
    "ensemble_mutual_information",
)


class ReferencesError(ValueError):
    """Arrays that are no fitted references; `problems` says all that is wrong with them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What may be chosen about the scores."""

    neighbours: int = 50
    """k of knn; at most the bank's size."""
    vim_dimension: int | None = None
    """Of ViM's principal space; None: the paper's rule (64 for D = 128). At most D."""
    gen_power: float = 0.1
    gen_classes: int = 10
    """The M most probable classes that gen looks at."""
    bank_size: int = 4096
    """Most familiar tiles that knn compares with."""

    def __post_init__(self) -> None:
        wrong = [
            name for name in ("neighbours", "gen_classes", "bank_size") if getattr(self, name) < 1
        ]
        if self.vim_dimension is not None and self.vim_dimension < 0:
            wrong.append("vim_dimension")
        if not 0 < self.gen_power < np.inf:
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


@dataclass(frozen=True, eq=False)
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
            f"{part}/{name}": getattr(getattr(self, part), name)
            for part, kind in _PARTS.items()
            if getattr(self, part) is not None
            for name in _names(kind)
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> References:
        """The references of `arrays()`; other names in it are not looked at.

        Raises:
            ReferencesError: an array lacks, or is not of the right kind, shape or finite.
        """
        problems: list[str] = []
        parts: dict[str, Any] = {}
        sizes: dict[str, int] = {}
        for part, kind in _PARTS.items():
            found = {name: arrays.get(f"{part}/{name}") for name in _names(kind)}
            if all(array is None for array in found.values()):
                continue
            wrong = [
                f"{part}/{name} {problem}"
                for name, array in found.items()
                if (problem := _problem(array, _SHAPES[f"{part}/{name}"], sizes))
            ]
            problems += wrong
            if not wrong:
                parts[part] = kind(**{name: _kept(array) for name, array in found.items()})
        if problems:
            raise ReferencesError(problems)
        return References(**parts)


_PARTS: Final[Mapping[str, type]] = {
    "mahalanobis": Gaussians,
    "neighbours": Bank,
    "vim": NullSpace,
    "fdbd": Boundaries,
}
# Equal letters are equal sizes; D+1 is one more.
_SHAPES: Final = {
    "mahalanobis/centre": "D",
    "mahalanobis/means": "F D",
    "mahalanobis/whitening": "D r",
    "mahalanobis/global_whitening": "D s",
    "neighbours/features": "B D",
    "vim/origin": "D",
    "vim/axes": "D D",
    "vim/scale": "D+1",
    "fdbd/centre": "D",
    "fdbd/separation": "C C",
}
_FEATURE_SCORES: Final = {
    "mahalanobis_pp": "mahalanobis",
    "rmds_pp": "mahalanobis",
    "knn": "neighbours",
    "vim": "vim",
    "fdbd": "fdbd",
}
_NEEDS: Final = {
    "mahalanobis": "features and labels of familiar tiles",
    "neighbours": "features of familiar tiles",
    "vim": "features of familiar tiles and the weights of the last layer",
    "fdbd": "features of familiar tiles and the weights of the last layer",
}
_ENSEMBLE_SCORES: Final = ("ensemble_entropy", "ensemble_mutual_information")


def fit_references(
    features: npt.ArrayLike,
    labels: npt.ArrayLike | None,
    head: Head | None,
    options: ScoreOptions,
) -> References:
    """From (R, D) features of familiar tiles, their (R,) labels and the last layer, where known.

    Rows that are not finite are left out; without any row nothing is fitted.

    Raises:
        ValueError: shapes that do not fit together, or negative labels.
    """
    given = np.asarray(features)
    known = None if labels is None else np.asarray(labels)
    _check_fitting(given, known, head)
    usable = np.isfinite(given).all(axis=1)
    if not usable.any():
        return References()
    rows = given[usable]
    known = None if known is None else known[usable]
    return References(
        None if known is None else fit_gaussians(rows, known),
        fit_bank(rows, known, options.bank_size),
        None if head is None else fit_null_space(rows, head.weight, head.bias),
        None if head is None else fit_boundaries(rows, head.weight),
    )


def raw_scores(
    outputs: Outputs, references: References, options: ScoreOptions
) -> dict[str, Floats]:
    """Every score that the outputs and the references allow, (N,) each, in `SCORE_NAMES`' order.

    NaN exactly in the rows that have a fault (`faults`), which touch no other row; finite in all
    others.

    Raises:
        ValueError: outputs that do not fit together or not the references.
    """
    _check_outputs(outputs, references)
    faulty = np.array([fault is not None for fault in faults(outputs)], dtype=bool)
    apart = taken_apart(_without(outputs.logits, faulty))
    scores = logit_scores(apart, gen_power=options.gen_power, gen_classes=options.gen_classes)
    if outputs.features is not None:
        features = _without(outputs.features, faulty)
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
        members = member_probabilities(_without(outputs.member_logits, faulty))
        scores["ensemble_entropy"] = entropy_of_mean(members)
        scores["ensemble_mutual_information"] = mutual_information(members)
    if faulty.any():
        for values in scores.values():
            values[faulty] = np.nan
    return scores


def lacking(outputs: Outputs, references: References) -> dict[str, str]:
    """Scores that `raw_scores` leaves out -> what is lacking for them, in words."""
    missing = {}
    for score, part in _FEATURE_SCORES.items():
        needs = []
        if outputs.features is None:
            needs.append("the model's embedding of each tile")
        if getattr(references, part) is None:
            needs.append(_NEEDS[part])
        if needs:
            missing[score] = " and ".join(needs)
    if outputs.member_logits is None:
        missing |= dict.fromkeys(_ENSEMBLE_SCORES, "an ensemble: the logits of each member")
    return missing


def faults(outputs: Outputs) -> list[str | None]:
    """What makes each of N tiles impossible to judge: None, or the first that applies of

    `logits-nan`, `logits-inf` (+inf), `logits-none` (a row of -inf alone), the same as
    `member-logits-...` for any member, and `features-not-finite`.
    """
    found = _logit_faults(np.asarray(outputs.logits), "logits")
    if outputs.member_logits is not None:
        for member in np.asarray(outputs.member_logits):
            found = [
                a or b for a, b in zip(found, _logit_faults(member, "member-logits"), strict=True)
            ]
    if outputs.features is not None:
        finite = np.isfinite(outputs.features).all(axis=1)
        if not finite.all():
            found = [
                fault or (None if good else "features-not-finite")
                for fault, good in zip(found, finite, strict=True)
            ]
    return found


def _logit_faults(logits: npt.NDArray[Any], what: str) -> list[str | None]:
    if np.isfinite(logits).all():
        return [None] * len(logits)
    nan = np.isnan(logits).any(axis=1)
    infinite = np.isposinf(logits).any(axis=1)
    none = np.isneginf(logits).all(axis=1)
    return [
        f"{what}-nan" if a else f"{what}-inf" if b else f"{what}-none" if c else None
        for a, b, c in zip(nan, infinite, none, strict=True)
    ]


def _without(values: npt.ArrayLike, faulty: npt.NDArray[np.bool_]) -> Floats:
    """Float64 with zeros in the faulty rows of (N, ...) or, of members, (M, N, C) values."""
    array = np.asarray(values, dtype=np.float64)
    if not faulty.any():
        return array
    array = array.copy()
    array[..., faulty, :] = 0.0
    return array


def _check_fitting(
    features: npt.NDArray[Any], labels: npt.NDArray[Any] | None, head: Head | None
) -> None:
    problems = []
    if features.ndim != 2 or features.shape[1] == 0:
        raise ReferencesError([f"features are {features.shape}, not (R, D)"])
    if labels is not None:
        if labels.shape != features.shape[:1]:
            problems.append(f"labels are {labels.shape}, not ({len(features)},)")
        elif labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
            problems.append("labels are not whole numbers from 0")
    if head is not None:
        weight, bias = np.shape(head.weight), np.shape(head.bias)
        if len(weight) != 2 or weight[1] != features.shape[1] or bias != weight[:1]:
            problems.append(
                f"the last layer's weight {weight} and bias {bias} do not fit {features.shape}"
            )
        elif not (np.isfinite(head.weight).all() and np.isfinite(head.bias).all()):
            problems.append("the last layer holds values that are not finite")
    if problems:
        raise ReferencesError(problems)


def _check_outputs(outputs: Outputs, references: References) -> None:
    problems = []
    logits = np.shape(outputs.logits)
    if len(logits) != 2 or logits[1] == 0:
        raise ReferencesError([f"logits are {logits}, not (N, C)"])
    if references.fdbd is not None and len(references.fdbd.separation) != logits[1]:
        problems.append(f"logits are of {logits[1]} classes, not {len(references.fdbd.separation)}")
    if outputs.features is not None:
        features = np.shape(outputs.features)
        depths = {
            shape[-1]
            for name, a in references.arrays().items()
            if (shape := np.shape(a)) and _SHAPES[name].endswith("D")
        }
        if len(features) != 2 or features[0] != logits[0]:
            problems.append(f"features are {features}, not ({logits[0]}, D)")
        elif depths - {features[1]}:
            problems.append(f"features are {features[1]} numbers long, not {depths}")
    if outputs.member_logits is not None:
        members = np.shape(outputs.member_logits)
        if len(members) != 3 or members[1:] != logits or members[0] == 0:
            problems.append(f"member logits are {members}, not (M, {logits[0]}, {logits[1]})")
    if problems:
        raise ReferencesError(problems)


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.init]


def _problem(array: npt.NDArray[Any] | None, shape: str, sizes: dict[str, int]) -> str | None:
    """What is wrong with an array of that shape, given the sizes met before; adds new ones."""
    if array is None:
        return "is missing"
    letters = shape.split()
    if array.dtype.kind != "f" or array.ndim != len(letters):
        return f"is {array.dtype} {array.shape}, not numbers of shape ({', '.join(letters)})"
    for letter, size in zip(letters, array.shape, strict=True):
        name, known = letter.removesuffix("+1"), size - letter.endswith("+1")
        if sizes.setdefault(name, known) != known:
            return f"is {array.shape}, not ({', '.join(letters)}) with {name} = {sizes[name]}"
    if not np.isfinite(array).all():
        return "holds values that are not finite"
    return None


def _kept(array: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """The bank's float32 as it is, everything else as float64."""
    return np.asarray(array)
