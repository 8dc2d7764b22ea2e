"""Which scores a bundle can give, and what the others lack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_agent.domain import Outputs
from edge_agent.inference.head_file import HeadArrays
from edge_agent.scoring.calibration import Calibration
from edge_agent.scoring.references import (
    SCORE_NAMES,
    Head,
    ScoreOptions,
    fit_references,
    lacking,
)

Outlook = dict[str, str | None]
"""Score -> None, or what it lacks in words; in the order of SCORE_NAMES."""

_ENOUGH_DIMENSIONS = 4


def outlook(outputs: Outputs, head: HeadArrays | None, calibration: Calibration | None) -> Outlook:
    """By the calibration, or, where there is none yet, what calibrating with labels will give."""
    if calibration is not None:
        missing = dict(calibration.lacking)
    else:
        missing = _lacking_once_calibrated(outputs, head)
    return {name: missing.get(name) for name in SCORE_NAMES}


def _lacking_once_calibrated(outputs: Outputs, head: HeadArrays | None) -> dict[str, str]:
    """Asked of scoring itself: references fitted to a few dimensions of a few tiles."""
    features, layer = outputs.features, None
    if features is not None:
        features = np.asarray(features[:, :_ENOUGH_DIMENSIONS], dtype=np.float64)
        if head is not None:
            weight = head.weight[:, :_ENOUGH_DIMENSIONS].astype(np.float64)
            layer = Head(weight, head.bias.astype(np.float64))
    labels = np.argmax(outputs.logits, axis=1)
    references = fit_references(features, labels, layer, ScoreOptions())
    return lacking(replace(outputs, features=features), references)
