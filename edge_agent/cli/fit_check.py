"""Does the calibration fit what the model shows? Asked before the flight, not in it."""

from __future__ import annotations

import numpy as np

from edge_agent.inference.bundle import Bundle, BundleError
from edge_agent.inference.session import Session
from edge_agent.scoring.calibration import Calibration
from edge_agent.scoring.references import lacking
from edge_agent.scoring.shapes import MisfitError, check_outputs
from operations.errors import Problem

_HINT = "use the bundle as it was calibrated, or calibrate it again: edge-agent calibrate"


def refuse_misfit(bundle: Bundle, session: Session, calibration: Calibration) -> None:
    """Try the calibration on a grey tile.

    Its hash binds it to the model's file, but which of the file's outputs are shown is said by
    `bundle.toml`.

    Raises:
        BundleError: the calibration was made of other outputs.
    """
    height, width = bundle.description.input.size
    outputs = session.run(session.prepare(np.full((1, height, width, 3), 128, dtype=np.uint8)))
    references = calibration.references
    try:
        check_outputs(outputs, references.depth, references.classes)
        without = lacking(outputs, references)
        found = [f"{name} needs {without[name]}" for name in calibration.ranks if name in without]
    except MisfitError as error:
        found = error.problems
    if found:
        problems = [Problem(f"calibration.npz: {text}", _HINT) for text in found]
        raise BundleError(f"bundle {bundle.folder} cannot be used", problems)
