"""An evaluation as a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.evaluation.comparison import GroupFigures
from edge_agent.evaluation.evaluating import Evaluated, Opinion, strangest
from edge_agent.evaluation.metrics import BUDGETS
from edge_agent.imagery.frames import FrameError
from edge_agent.reports.page import render, sort_first, thumbnail
from edge_agent.reports.plots import Curve, histogram, roc
from edge_agent.scoring.calibration import OOD

_TILES: Final = 12

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ShownTile:
    """A tile to look at."""

    name: str
    picture: str | None
    """None where the image cannot be read any more."""
    said: str | None
    """What the set says that it shows."""
    guess: str
    confidence: float
    p_value: float | None
    wrong: bool
    """Whether the set has a label of the bundle for it, and the model another."""


def evaluation_page(found: Evaluated, labels: tuple[str, ...]) -> str:
    """The page: figures, warnings, tables, ROC curves, histograms, the most surprising tiles."""
    evaluation = found.evaluation
    main = evaluation.groups[-1]
    return render(
        "evaluation.html",
        found=evaluation,
        main=main,
        best=OOD if OOD in main.scores else _best(main),
        fused_name=OOD,
        budgets=[f"{100 * budget:g}" for budget in BUDGETS],
        curves=[_roc_of(group, found) for group in evaluation.groups],
        histograms=_histograms(found),
        strange=_shown(found.familiar, labels, strangest(found.familiar, _TILES)),
        missed=[
            (look.seen.name, _shown(look, labels, strangest(look, _TILES, familiar_looking=True)))
            for look in found.strangers
        ],
    )


def _best(group: GroupFigures) -> str:
    return max(group.scores, key=lambda name: group.scores[name].figures["auroc"].value or 0.0)


def _pooled(found: Evaluated, sets: tuple[str, ...], score: str) -> Floats:
    parts = [one.scored.scores[score] for one in found.strangers if one.seen.name in sets]
    values = np.concatenate(parts)
    return np.asarray(values[np.isfinite(values)])


def _familiar(found: Evaluated, score: str) -> Floats:
    values = found.familiar.scored.scores[score]
    return np.asarray(values[np.isfinite(values)])


def _roc_of(group: GroupFigures, found: Evaluated) -> str:
    best = OOD if OOD in group.scores else _best(group)
    curves = [
        Curve(name, _familiar(found, name), _pooled(found, group.sets, name), name == best)
        for name in group.scores
    ]
    return roc(group.name, curves)


def _histograms(found: Evaluated) -> list[str]:
    """The fused statistic first; all OOD tiles pooled."""
    main = found.evaluation.groups[-1]
    names = sort_first(main.scores, OOD)
    return [
        histogram(name, _familiar(found, name), _pooled(found, main.sets, name)) for name in names
    ]


def _shown(opinion: Opinion, labels: tuple[str, ...], rows: list[int]) -> list[ShownTile]:
    seen, p_values = opinion.seen, opinion.scored.p_values.get(OOD)
    found = []
    for row in rows:
        try:
            picture = thumbnail(seen.pixels(row))
        except FrameError:
            picture = None
        guess = int(opinion.guesses[row])
        found.append(
            ShownTile(
                name=seen.names[row],
                picture=picture,
                said=seen.origins[row][0].said,
                guess=labels[guess],
                confidence=float(opinion.confidence[row]),
                p_value=None if p_values is None else float(p_values[row]),
                wrong=seen.labels is not None and int(seen.labels[row]) != guess,
            )
        )
    return found
