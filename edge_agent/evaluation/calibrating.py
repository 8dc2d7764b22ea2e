"""Held-out familiar tiles -> a calibration, and what there is to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np

from edge_agent.evaluation.calibration_notes import temperature_note, threshold_note, unweighed
from edge_agent.evaluation.honesty import (
    conflict_notes,
    near_content,
    shared_content,
    shown,
    unreadable_notes,
)
from edge_agent.evaluation.intervals import Share, share_of
from edge_agent.evaluation.looking import Seen
from edge_agent.evaluation.trial import (
    Confidence,
    Confusion,
    FalseAlarms,
    HeldOut,
    Labels,
    Tempered,
    confidence,
    confusions,
    false_alarms,
    held_out,
)
from edge_agent.scoring.calibration import (
    OOD,
    Calibration,
    CalibrationError,
    CalibrationOptions,
    Familiar,
    predicted,
)
from edge_agent.scoring.fitting import fit_calibration
from edge_agent.scoring.fusion import weak_by
from edge_agent.scoring.references import Head

_FEW: Final = 100


class CalibrationReport(msgspec.Struct, frozen=True):
    """All that is said of a calibration, on the terminal, in JSON and on the page."""

    bundle: str
    tiles: int
    """n, the tiles that are ranked against."""
    contents: int
    """How many different ones among them, near-duplicates counted once."""
    training_tiles: int | None
    unreadable: int
    accuracy: Share | None
    by_class: dict[str, Share]
    confusions: list[Confusion]
    confidence: Confidence | None
    false_alarms: dict[str, FalseAlarms]
    """Score, and `ood` -> how often it calls familiar tiles unusual; empty if it cannot be told."""
    folds: int
    fused: tuple[str, ...]
    fused_because: str
    stand_in_auroc: dict[str, float]
    """Score -> AUROC of classes left out in turn, as stand-ins for OOD tiles."""
    lacking: dict[str, str]
    neighbours: int
    warnings: tuple[str, ...]
    head_source: str | None = None
    """The file that the last layer's weights are from, None where they are not known."""
    head_lack: str = ""
    """Why they are not known."""

    @property
    def head_in_words(self) -> str:
        """Where the last layer's weights are from, or why they are not known."""
        if self.head_source is None:
            return f"weights not known ({self.head_lack})"
        return f"weights from {self.head_source}"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration with its report and what its plots are drawn from."""

    calibration: Calibration
    report: CalibrationReport
    held: HeldOut | None
    tempered: Tempered | None


def calibrate_bundle(
    bundle: str,
    labels: tuple[str, ...],
    familiar: Seen,
    training: Seen | None,
    head: Head | None,
    options: CalibrationOptions,
) -> Calibrated:
    """Fit the calibration of held-out familiar tiles and put it on trial.

    Raises:
        CalibrationError: no calibration can be made of these tiles.
    """
    notes = [*familiar.notes, *unreadable_notes(familiar), *conflict_notes(familiar)]
    if training is not None:
        familiar, more = without_trained(familiar, training)
        notes += [*more, *unreadable_notes(training)]
    trained = None if training is None else _familiar(training)

    def fit(part: Familiar, chosen: CalibrationOptions = options) -> Calibration:
        return fit_calibration(part, head, training=trained, options=chosen)

    calibration = fit(_familiar(familiar))
    # On trial is the way of scoring that was chosen; each fold by itself might choose another.
    settled = replace(options, fuse=calibration.fusion.members)
    usable = calibration.familiar
    held = held_out(usable, lambda part: fit(part, settled), (*calibration.score_names, OOD))
    tempered = None
    if calibration.temperature is not None:
        tempered = confidence(usable, calibration.temperature)
    notes += _size_notes(usable, calibration, held)
    report = _report(bundle, labels, calibration, held, tempered)
    report = msgspec.structs.replace(
        report,
        training_tiles=None if training is None else len(training),
        unreadable=len(familiar.unreadable),
        warnings=(*notes, *calibration.warnings),
    )
    return Calibrated(calibration, report, held, tempered)


def _familiar(seen: Seen) -> Familiar:
    return Familiar(seen.outputs, seen.labels, seen.groups)


def without_trained(familiar: Seen, training: Seen) -> tuple[Seen, list[str]]:
    """The familiar tiles that the model was not trained on, and what was left out, in words.

    Raises:
        CalibrationError: none is left.
    """
    shared = shared_content(familiar, training)
    if shared.all():
        raise CalibrationError(["every tile is a training tile: none is held out"])
    notes = []
    if shared.any():
        names = [familiar.names[row] for row in np.flatnonzero(shared)]
        told = "are training tiles, pixel by pixel, and left out"
        notes.append(f"{len(names)} tiles {told}: {shown(names)}")
        familiar = familiar.take(np.flatnonzero(~shared))
    if (near := near_content(familiar, training)).any():
        names = [familiar.names[row] for row in np.flatnonzero(near)]
        notes.append(f"{len(names)} tiles look very much like a training tile: {shown(names)}")
    return familiar, notes


def _report(
    bundle: str,
    names: tuple[str, ...],
    calibration: Calibration,
    held: HeldOut | None,
    tempered: Tempered | None,
) -> CalibrationReport:
    usable = calibration.familiar
    groups = _groups(usable)
    right = None
    if usable.labels is not None:
        right = predicted(usable.outputs) == usable.labels
    return CalibrationReport(
        bundle=bundle,
        tiles=calibration.size,
        contents=len(np.unique(groups)),
        training_tiles=None,
        unreadable=0,
        accuracy=None if right is None else share_of(right, groups),
        by_class=_by_class(usable.labels, right, names),
        confusions=[]
        if usable.labels is None
        else confusions(predicted(usable.outputs), usable.labels, names),
        confidence=None if tempered is None else tempered.confidence,
        false_alarms={} if held is None else false_alarms(held, calibration, groups),
        folds=0 if held is None else held.folds,
        fused=calibration.fusion.members,
        fused_because=_why(calibration),
        stand_in_auroc={k: float(v) for k, v in calibration.stand_in_auroc.items()},
        lacking=dict(calibration.lacking),
        neighbours=calibration.options.scores.neighbours,
        warnings=(),
    )


def _by_class(
    labels: Labels | None, right: Sequence[bool] | None, names: tuple[str, ...]
) -> dict[str, Share]:
    if labels is None or right is None:
        return {}
    hits = np.asarray(right, dtype=bool)
    return {
        names[number]: share_of(hits[labels == number]) for number in np.unique(labels).tolist()
    }


def _why(calibration: Calibration) -> str:
    if calibration.options.fuse:
        return "as asked for"
    if not calibration.stand_in_auroc:
        return f"one score for each kind of evidence; none can be weighed: {unweighed(calibration)}"
    return (
        "one score for each kind of evidence, less those whose AUROC on stand-ins (known classes "
        f"left out in turn) is more than {weak_by(calibration.size):.2f} below the best one's"
    )


def _groups(familiar: Familiar) -> Labels:
    return np.arange(len(familiar.outputs.logits)) if familiar.groups is None else familiar.groups


def _size_notes(familiar: Familiar, calibration: Calibration, held: HeldOut | None) -> list[str]:
    count = calibration.size
    contents = len(np.unique(_groups(familiar)))
    notes = []
    if held is None:
        notes.append("all tiles show the same content: how true the p-values are cannot be told")
    if contents < count and contents < _FEW:
        notes.append(f"{count} tiles, but only {contents} different contents: give more")
    if (asked_too_much := threshold_note(calibration)) is not None:
        notes.append(asked_too_much)
    if (limit := temperature_note(calibration.temperature)) is not None:
        notes.append(limit)
    if familiar.labels is None:
        notes.append("no labels: accuracy, temperature and the choice of scores cannot be told")
    return notes
