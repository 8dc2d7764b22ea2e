"""Familiar classes as stand-ins for the unknown: which scores would notice a class left out?

Each class in turn is struck from the head and from the fitted references, as if the model had
never heard of it; its tiles then play the out-of-distribution tiles. The network did learn from
them, so the figures flatter; they serve to tell a score that fails from one that works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Outputs
from edge_agent.scoring.conformal import Floats
from edge_agent.scoring.references import Head, ScoreOptions, fit_references, raw_scores

MOST_CLASSES: Final = 10
FEWEST_TILES: Final = 5

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Outputs of n tiles and their true classes."""

    outputs: Outputs
    labels: Labels

    def take(self, rows: npt.NDArray[np.bool_]) -> Labelled:
        """The tiles of these rows."""
        return Labelled(take(self.outputs, rows), self.labels[rows])


def take(outputs: Outputs, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Outputs:
    """The outputs of these tiles, in this order."""
    features, members = outputs.features, outputs.member_logits
    return Outputs(
        outputs.logits[rows],
        None if features is None else features[rows],
        None if members is None else members[:, rows],
    )


def stand_in_aurocs(
    known: Labelled, fitting: Labelled, head: Head | None, options: ScoreOptions
) -> dict[str, float]:
    """Score name -> mean AUROC over the classes left out in turn; empty when none can be.

    `known` are held-out familiar tiles, `fitting` the tiles that references are fitted on; no
    tile may be in both. The `MOST_CLASSES` largest classes of `known` are left out.
    """
    classes = known.outputs.logits.shape[1]
    counts = np.bincount(known.labels, minlength=classes)
    left_out = [
        number
        for number in np.argsort(-counts, kind="stable")
        if FEWEST_TILES <= counts[number] < len(known.labels)
    ]
    if classes < 3:  # with one class left there is nothing to tell apart
        return {}
    found: dict[str, list[float]] = {}
    for number in left_out[:MOST_CLASSES]:
        strange = known.labels == number
        if strange.all() or (fitting.labels == number).all():
            continue  # without it nothing would be familiar
        scores = _scores_without(int(number), known, fitting, head, options)
        for name, values in scores.items():
            found.setdefault(name, []).append(auroc(values[~strange], values[strange]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def auroc(familiar: Floats, strange: Floats) -> float:
    """Chance that a strange tile scores above a familiar one, ties half (Mann and Whitney 1947).

    NaN when there are none of either.
    """
    if not len(familiar) or not len(strange):
        return float("nan")
    order = np.sort(familiar)
    below = np.searchsorted(order, strange, side="left")
    up_to = np.searchsorted(order, strange, side="right")
    return float((below + up_to).mean() / 2 / len(order))


def _scores_without(
    number: int, known: Labelled, fitting: Labelled, head: Head | None, options: ScoreOptions
) -> Mapping[str, Floats]:
    remaining = np.arange(known.outputs.logits.shape[1]) != number
    smaller = None if head is None else Head(head.weight[remaining], head.bias[remaining])
    rest = fitting.take(fitting.labels != number)
    outputs = known.outputs
    if outputs.features is None or rest.outputs.features is None:
        features, references = None, fit_references(None, None, None, options)
    else:
        features = outputs.features
        shifted = rest.labels - (rest.labels > number)
        references = fit_references(rest.outputs.features, shifted, smaller, options)
    members = outputs.member_logits
    narrowed = Outputs(
        outputs.logits[:, remaining],
        features,
        None if members is None else members[:, :, remaining],
    )
    return raw_scores(narrowed, references, options)
