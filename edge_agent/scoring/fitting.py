"""Held-out familiar tiles -> a calibration."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from edge_agent.scoring.calibration import (
    Calibration,
    CalibrationError,
    CalibrationOptions,
    Familiar,
    assemble,
)
from edge_agent.scoring.conformal import Floats
from edge_agent.scoring.fusion import WIDENED_BELOW
from edge_agent.scoring.mahalanobis import fit_gaussians, mahalanobis_pp, rmds_pp
from edge_agent.scoring.references import (
    Head,
    References,
    ScoreOptions,
    faults,
    fit_references,
    raw_scores,
)
from edge_agent.scoring.stand_ins import Labelled, Labels, stand_in_aurocs, take

_FOLDS: Final = 20
_MANY_FOLDS: Final = 128
_FEW_FOLDS: Final = 10
_WIDE: Final = 512
_WIDENING: Final = 3.0
"""Enough in trials on Gaussian classes; 1 was not: the next tile counts more than the last."""


def fit_calibration(
    familiar: Familiar,
    head: Head | None,
    *,
    training: Familiar | None = None,
    options: CalibrationOptions | None = None,
) -> Calibration:
    """The calibration from held-out familiar tiles.

    `training` are tiles that the model was trained on: they serve the fitted references only, as
    a far better picture of the known classes, and are never ranked. Without them the references
    are fitted on the familiar tiles, whose own scores are then computed out of fold.

    Raises:
        CalibrationError: there is no usable tile, or a score to fuse is not there.
    """
    chosen = options or CalibrationOptions()
    usable, warnings = _usable(familiar)
    fitting = usable if training is None else _usable(training)[0]
    if training is None and usable.outputs.features is not None:
        chosen = _within_reach(usable, chosen)
    references = _references(fitting, head, chosen.scores)
    if training is None:
        own_scores = _out_of_fold(usable, head, references, chosen.scores)
    else:
        own_scores = raw_scores(usable.outputs, references, chosen.scores)
    stand_ins = _stand_ins(usable, training and fitting, head, chosen.scores)
    return assemble(
        familiar=usable,
        head=head,
        references=references,
        trained=training is not None,
        options=chosen,
        own_scores=own_scores,
        candidates=[name for name in own_scores if name not in _unsteady(fitting)],
        stand_in_auroc=stand_ins,
        warnings=(*warnings, *_size_warnings(usable, fitting, references, chosen)),
    )


def recalibrate(calibration: Calibration, familiar: Familiar) -> Calibration:
    """The same references and fused scores, ranked among other familiar tiles.

    Raises:
        CalibrationError: the references were fitted on the tiles that they were ranked among, or
            there is no usable tile.
    """
    if not calibration.trained:
        raise CalibrationError(["no training tiles: fit the calibration anew"])
    usable, warnings = _usable(familiar)
    options = replace(calibration.options, fuse=calibration.fusion.members)
    return assemble(
        familiar=usable,
        head=calibration.head,
        references=calibration.references,
        trained=True,
        options=options,
        own_scores=raw_scores(usable.outputs, calibration.references, options.scores),
        stand_in_auroc=calibration.stand_in_auroc,
        warnings=tuple(warnings),
    )


def suggested_neighbours(labels: Labels | None, count: int) -> int:
    """k for `knn`: a tenth of the median class, or a hundredth of all; between 5 and 50.

    The k-th neighbour should still be of the tile's own class.
    """
    if labels is None or not len(labels):
        return int(np.clip(count // 100, 5, 50))
    sizes = np.bincount(labels)
    return int(np.clip(np.median(sizes[sizes > 0]) // 10, 5, 50))


def _usable(familiar: Familiar) -> tuple[Familiar, list[str]]:
    good = np.array([reason is None for reason in faults(familiar.outputs)], dtype=bool)
    if not good.any():
        raise CalibrationError(["no tile has finite outputs"])
    lost = int((~good).sum())
    if not lost:
        return familiar, []
    return familiar.take(good), [f"{lost} tiles with outputs that are not finite are left out"]


def _references(fitting: Familiar, head: Head | None, options: ScoreOptions) -> References:
    return fit_references(fitting.outputs.features, fitting.labels, head, options)


def _within_reach(familiar: Familiar, options: CalibrationOptions) -> CalibrationOptions:
    """The options with a k that every fold's bank has, too.

    Else a new tile's farthest neighbour among n would be ranked with the farthest among fewer.
    """
    others = len(familiar.outputs.logits) - int(np.bincount(_folds(familiar)).max())
    neighbours = max(min(options.scores.neighbours, others), 1)
    return replace(options, scores=replace(options.scores, neighbours=neighbours))


def _out_of_fold(
    familiar: Familiar, head: Head | None, references: References, options: ScoreOptions
) -> dict[str, Floats]:
    """(n,) scores of each tile by references fitted without its fold."""
    count, outputs = len(familiar.outputs.logits), familiar.outputs
    if outputs.features is None:
        return raw_scores(outputs, references, options)
    folds = _folds(familiar)
    if count == 1:
        return raw_scores(replace(outputs, features=None), References(), options)
    if folds.max() == 0:
        raise CalibrationError(["all tiles show the same: there is nothing to hold out"])
    found: dict[str, Floats] = {}
    rank = 0
    for fold in range(int(folds.max()) + 1):
        inside = folds == fold
        without = _references(familiar.take(~inside), head, options)
        rank = max(rank, _rank(without))
        scores = raw_scores(take(outputs, inside), without, options)
        for name, values in scores.items():
            found.setdefault(name, np.full(count, np.nan))[inside] = values
    if rank < _rank(references):
        _widen(found, familiar, folds)
    return {name: values for name, values in found.items() if np.isfinite(values).all()}


def _rank(references: References) -> int:
    """How many directions the classes' covariance knows."""
    fitted = references.mahalanobis
    return 0 if fitted is None else fitted.whitening.shape[1]


def _widen(found: dict[str, Floats], familiar: Familiar, folds: Labels) -> None:
    """Add to distances a multiple of what one fold less still changes in them.

    With fewer tiles than features every tile opens a direction of its own, and distances grow
    with each: a new tile's, by all tiles, is above those of tiles held out.
    """
    features, labels, last = familiar.outputs.features, familiar.labels, int(folds.max()) + 1
    if features is None or labels is None or last < 3:
        return
    for fold in range(last):
        inside = folds == fold
        fewer = ~inside & (folds != (fold + 1) % last)
        gaussians = fit_gaussians(features[fewer], labels[fewer])
        for name, score in (("mahalanobis_pp", mahalanobis_pp), ("rmds_pp", rmds_pp)):
            own = found[name]
            own[inside] += _WIDENING * np.abs(own[inside] - score(features[inside], gaussians))


def _folds(familiar: Familiar) -> Labels:
    """(n,) fold of each tile: whole groups, dealt by a fixed shuffle.

    Where tiles are few for the width of the features, a covariance changes much with each tile:
    references with and without a fold are then made as alike as can be, by a fold per group.
    """
    count = len(familiar.outputs.logits)
    groups = np.arange(count) if familiar.groups is None else familiar.groups
    _, dense = np.unique(groups, return_inverse=True)
    features = familiar.outputs.features
    width = 0 if features is None else features.shape[1]
    most = _FEW_FOLDS if width > _WIDE else _MANY_FOLDS if count < 4 * width else _FOLDS
    order = np.random.default_rng(0).permutation(int(dense.max()) + 1)
    return np.asarray(order[dense] % min(most, len(order)), dtype=np.int64)


def _stand_ins(
    familiar: Familiar, training: Familiar | None, head: Head | None, options: ScoreOptions
) -> dict[str, float]:
    if familiar.labels is None or (training is not None and training.labels is None):
        return {}
    known = Labelled(familiar.outputs, familiar.labels)
    if training is not None and training.labels is not None:
        return stand_in_aurocs(known, Labelled(training.outputs, training.labels), head, options)
    half = _folds(familiar) % 2 == 0
    if half.all() or not half.any():
        return {}
    return stand_in_aurocs(known.take(half), known.take(~half), head, options)


def _unsteady(fitting: Familiar) -> frozenset[str]:
    """The scores whose covariances rest on too few tiles for the width of the features."""
    features = fitting.outputs.features
    if features is None or len(features) >= 2 * features.shape[1]:
        return frozenset()
    return frozenset({"mahalanobis_pp", "rmds_pp"})


def _size_warnings(
    familiar: Familiar, fitting: Familiar, references: References, options: CalibrationOptions
) -> list[str]:
    count = len(familiar.outputs.logits)
    warnings = []
    if count < WIDENED_BELOW:
        warnings.append(
            f"only {count} calibration tiles: ood is widened to what they allow, and no score's "
            f"p-value is below {1 / (count + 1):.3f}"
        )
    features = fitting.outputs.features
    if features is not None and references.mahalanobis is not None and _unsteady(fitting):
        tiles, width = features.shape
        warnings.append(
            f"{tiles} tiles for {width} features: mahalanobis_pp and rmds_pp are unsteady and "
            "not fused; give training tiles"
        )
    if features is not None and fitting.labels is not None:
        middling = int(np.median(np.unique(fitting.labels, return_counts=True)[1]))
        if options.scores.neighbours > middling:
            warnings.append(
                f"knn looks at neighbour {options.scores.neighbours}, but a class has "
                f"{middling} tiles: use a smaller k"
            )
    return warnings
