"""A calibration as a page."""

from __future__ import annotations

from typing import Final

import numpy as np

from edge_agent.evaluation.calibrating import Calibrated
from edge_agent.reports.page import render, sort_first
from edge_agent.reports.plots import histogram, reliability_diagram, uniformity
from edge_agent.scoring.calibration import OOD

_CONFUSIONS: Final = 12


def calibration_page(made: Calibrated) -> str:
    """The page: figures, warnings, the scores, the reliability diagram, histograms, confusions."""
    tempered, held = made.tempered, made.held
    curves = {} if held is None else dict(held.scored.p_values)
    return render(
        "calibration.html",
        report=made.report,
        fused_name=OOD,
        reliability=None
        if tempered is None
        else reliability_diagram(tempered.before, tempered.after),
        uniformity=uniformity(curves, OOD) if curves else None,
        histograms=_histograms(made),
        confusions=made.report.confusions[:_CONFUSIONS],
        more_confusions=max(0, len(made.report.confusions) - _CONFUSIONS),
        weakest=sorted(
            made.report.by_class.items(), key=lambda item: (item[1].value or 0.0, item[0])
        ),
    )


def _histograms(made: Calibrated) -> list[str]:
    """Of the fused statistic first, then of the scores in their order."""
    if made.held is None:
        scores = dict(made.calibration.own_scores)
    else:
        scores = dict(made.held.scored.scores)
    names = sort_first(scores, OOD)
    return [histogram(name, scores[name][np.isfinite(scores[name])]) for name in names]
