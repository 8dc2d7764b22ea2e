"""What an operator should know of a calibration before relying on it."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from edge_agent.scoring.calibration import OOD, Calibration
from edge_agent.scoring.stand_ins import FEWEST_TILES
from edge_agent.scoring.temperature import HIGHEST, LOWEST
from edge_agent.selection.policy import Thresholds

_FEWEST_CLASSES: Final = 3
"""Of a model: one left out, and two to tell apart."""


def unweighed(calibration: Calibration) -> str:
    """Why no class could be left out in turn to weigh the scores."""
    familiar = calibration.familiar
    if familiar.labels is None:
        return "without labels no class can be left out in turn"
    if (known := familiar.outputs.logits.shape[1]) < _FEWEST_CLASSES:
        return f"the model knows {known} classes, too few to leave one out in turn"
    if len(np.unique(familiar.labels)) == 1:
        return "all tiles are of one class, which cannot be left out"
    return f"no class has the {FEWEST_TILES} tiles that it takes to leave it out in turn"


def threshold_note(calibration: Calibration) -> str | None:
    """What `filter` will say to its default threshold, where the calibration is too small."""
    quantile = Thresholds().ood
    least, needed = calibration.smallest_p(OOD), 1.0 - quantile
    if least <= needed + 1e-12:
        return None
    most = int((1.0 - least) * 1e4) / 1e4
    return (
        f"filter's default threshold ood = {quantile:g} needs a smallest ood p of {needed:.2g}; "
        f"{calibration.size} calibration tiles give {least:.2g}, and filter will refuse it: "
        f"calibrate with more tiles, or set it to {most:g} at most"
    )


def temperature_note(temperature: float | None) -> str | None:
    """Where its fit ran into the wall."""
    if temperature is None:
        return None
    if math.isclose(temperature, LOWEST, rel_tol=1e-3):
        return f"temperature {temperature:.2f} is at its limit: too few wrong tiles to tell"
    if math.isclose(temperature, HIGHEST, rel_tol=1e-3):
        return f"temperature {temperature:.2f} is at its limit: the logits hardly tell the classes"
    return None
