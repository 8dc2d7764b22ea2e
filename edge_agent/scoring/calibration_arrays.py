"""A calibration as named arrays, and back: what `calibration.npz` holds.

Raw arrays: `logits` (n, C); optional `features` (n, D), `labels` (n,), `groups` (n,), `head_weight`
(C, D), `head_bias` (C,), `member_logits` (M, n, C); `reference_features` (R, D) and
`reference_labels` (R,) of tiles that the model was trained on. Fitted arrays: `reference/...` and
`calibration/...`. Raw arrays alone are enough: they are then fitted when read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Outputs
from edge_agent.scoring.array_checks import raw_problems
from edge_agent.scoring.calibration import (
    Calibration,
    CalibrationError,
    CalibrationOptions,
    Familiar,
    assemble,
)
from edge_agent.scoring.fitting import fit_calibration
from edge_agent.scoring.references import (
    SCORE_NAMES,
    Head,
    References,
    ScoreOptions,
    faults,
    lacking,
    raw_scores,
)
from edge_agent.scoring.shapes import MisfitError, check_outputs

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]

_AUTOMATIC: Final = -1
_REFERENCE: Final = "reference/"
_FITTED: Final = (
    "calibration/score_names", "calibration/scores", "calibration/fused", "calibration/trained",
    "calibration/neighbours", "calibration/vim_dimension", "calibration/gen_power",
    "calibration/gen_classes", "calibration/bank_size", "calibration/class_minimum",
    "calibration/stand_in_names", "calibration/stand_in_auroc", "calibration/warnings",
)  # fmt: skip


def to_arrays(calibration: Calibration) -> dict[str, npt.NDArray[Any]]:
    """All of a calibration, raw arrays and fitted ones."""
    familiar, options = calibration.familiar, calibration.options
    names, dimension = tuple(calibration.own_scores), options.scores.vim_dimension
    found: dict[str, npt.NDArray[Any] | None] = {
        "logits": familiar.outputs.logits,
        "features": familiar.outputs.features,
        "member_logits": familiar.outputs.member_logits,
        "labels": familiar.labels,
        "groups": familiar.groups,
        "head_weight": None if calibration.head is None else calibration.head.weight,
        "head_bias": None if calibration.head is None else calibration.head.bias,
        "calibration/score_names": np.array(names),
        "calibration/scores": np.stack([calibration.own_scores[name] for name in names], axis=1),
        "calibration/fused": np.array(calibration.fusion.members),
        "calibration/trained": np.array(calibration.trained),
        "calibration/neighbours": np.array(options.scores.neighbours),
        "calibration/vim_dimension": np.array(_AUTOMATIC if dimension is None else dimension),
        "calibration/gen_power": np.array(options.scores.gen_power),
        "calibration/gen_classes": np.array(options.scores.gen_classes),
        "calibration/bank_size": np.array(options.scores.bank_size),
        "calibration/class_minimum": np.array(options.class_minimum),
        "calibration/stand_in_names": np.array(tuple(calibration.stand_in_auroc), dtype=np.str_),
        "calibration/stand_in_auroc": np.array(tuple(calibration.stand_in_auroc.values())),
        "calibration/warnings": np.array(calibration.warnings, dtype=np.str_),
    }
    found |= {f"{_REFERENCE}{k}": v for k, v in calibration.references.arrays().items()}
    return {name: values for name, values in found.items() if values is not None}


def read_arrays(
    arrays: Arrays, *, classes: int | None = None, options: CalibrationOptions | None = None
) -> Calibration:
    """The calibration that arrays hold, or that raw arrays give when fitted.

    `classes` is the number that the model has, None when it is not known. `options` fits and
    ranks anew by them; None keeps what was chosen when the arrays were written.

    Raises:
        CalibrationError: arrays are missing or do not fit together; every problem is listed.
    """
    if problems := raw_problems(arrays, classes):
        raise CalibrationError(problems)
    familiar, head = _familiar(arrays), _head(arrays)
    if "calibration/scores" not in arrays:
        return fit_calibration(familiar, head, training=_training(arrays, head), options=options)
    if missing := [name for name in _FITTED if name not in arrays]:
        raise CalibrationError([f"{', '.join(missing)} missing"])
    try:
        return _fitted(arrays, familiar, head, options)
    except CalibrationError:
        raise
    except MisfitError as error:
        raise CalibrationError(error.problems) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise CalibrationError([f"the fitted arrays are damaged: {error}"]) from error


def _fitted(
    arrays: Arrays, familiar: Familiar, head: Head | None, options: CalibrationOptions | None
) -> Calibration:
    trained = bool(arrays["calibration/trained"])
    if options is not None and not trained:
        return fit_calibration(familiar, head, options=options)
    references = _references(arrays)
    check_outputs(familiar.outputs, references.depth, references.classes)
    if any(faults(familiar.outputs)):
        raise CalibrationError(["calibration tiles hold numbers that are not finite"])
    written = written_options(arrays)
    own_scores = _own_scores(arrays, len(familiar.outputs.logits))
    given = set(SCORE_NAMES) - set(lacking(familiar.outputs, references))
    if strange := sorted(set(own_scores) - given):
        raise CalibrationError([f"{', '.join(strange)}: ranked, but it cannot be computed"])
    if options is not None:
        own_scores = raw_scores(familiar.outputs, references, options.scores)
    return assemble(
        familiar=familiar,
        head=head,
        references=references,
        trained=trained,
        options=options or written,
        own_scores=own_scores,
        stand_in_auroc={
            str(name): float(value)
            for name, value in zip(
                arrays["calibration/stand_in_names"],
                arrays["calibration/stand_in_auroc"],
                strict=True,
            )
        },
        warnings=tuple(str(text) for text in arrays["calibration/warnings"]),
    )


def written_options(arrays: Arrays) -> CalibrationOptions:
    """What was chosen when the arrays were written; the defaults of raw arrays."""
    if "calibration/scores" not in arrays:
        return CalibrationOptions()
    dimension = int(arrays["calibration/vim_dimension"])
    scores = ScoreOptions(
        neighbours=int(arrays["calibration/neighbours"]),
        vim_dimension=None if dimension == _AUTOMATIC else dimension,
        gen_power=float(arrays["calibration/gen_power"]),
        gen_classes=int(arrays["calibration/gen_classes"]),
        bank_size=int(arrays["calibration/bank_size"]),
    )
    fused = tuple(str(name) for name in arrays["calibration/fused"])
    return CalibrationOptions(scores, int(arrays["calibration/class_minimum"]), fused)


def _own_scores(arrays: Arrays, count: int) -> dict[str, npt.NDArray[np.float64]]:
    names, scores = arrays["calibration/score_names"], arrays["calibration/scores"]
    if scores.shape != (count, len(names)) or not np.isfinite(scores).all():
        raise CalibrationError([f"calibration/scores are {scores.shape}, or not finite"])
    return {
        str(name): np.ascontiguousarray(scores[:, column], dtype=np.float64)
        for column, name in enumerate(names)
    }


def _references(arrays: Arrays) -> References:
    return References.from_arrays(
        {k.removeprefix(_REFERENCE): v for k, v in arrays.items() if k.startswith(_REFERENCE)}
    )


def _familiar(arrays: Arrays) -> Familiar:
    features, members = arrays.get("features"), arrays.get("member_logits")
    outputs = Outputs(
        _floats(arrays["logits"]),
        None if features is None else _floats(features),
        None if members is None else _floats(members),
    )
    return Familiar(outputs, arrays.get("labels"), arrays.get("groups"))


def _floats(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whole numbers as floats, floats as they are."""
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _head(arrays: Arrays) -> Head | None:
    if "head_weight" not in arrays or "features" not in arrays:
        return None
    weight, bias = arrays["head_weight"], arrays["head_bias"]
    return Head(weight.astype(np.float64), bias.astype(np.float64))


def _training(arrays: Arrays, head: Head | None) -> Familiar | None:
    features = arrays.get("reference_features")
    if features is None:
        return None
    if head is None:
        logits = np.zeros((len(features), arrays["logits"].shape[1]))
    else:
        logits = features.astype(np.float64) @ head.weight.T + head.bias
    return Familiar(Outputs(logits, features), arrays.get("reference_labels"))
