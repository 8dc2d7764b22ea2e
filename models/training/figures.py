"""The figures that a bundle is judged by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.scoring.stand_ins import auroc
from training.dataset import Labels
from training.evaluation import Floats


def wilson_interval(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % score interval of a share (Wilson 1927, https://doi.org/10.2307/2276774)."""
    if count == 0:
        return 0.0, 1.0
    share, square = right / count, z * z / count
    middle = share + square / 2
    spread = z * math.sqrt(share * (1 - share) / count + square / (4 * count))
    low, high = (middle - spread) / (1 + square), (middle + spread) / (1 + square)
    return max(0.0, low), min(1.0, high)


def _share(right: int, count: int) -> dict[str, Any]:
    low, high = wilson_interval(right, count)
    return {
        "tiles": count,
        "right": right,
        "accuracy": round(right / count, 4) if count else None,
        "interval_95": [round(low, 4), round(high, 4)],
    }


def accuracy_figures(logits: Floats, labels: Labels, names: Sequence[str]) -> dict[str, Any]:
    """Accuracy in all and by class with 95 % intervals, and the commonest confusions."""
    guesses = logits.argmax(axis=1)
    hits = guesses == labels
    wrong = Counter(
        (names[truth], names[guess])
        for truth, guess in zip(labels.tolist(), guesses.tolist(), strict=True)
        if truth != guess
    )
    commonest = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return {
        **_share(int(hits.sum()), len(labels)),
        "by_class": {
            name: _share(int(hits[labels == number].sum()), int((labels == number).sum()))
            for number, name in enumerate(names)
        },
        "confusions": [
            {"truth": truth, "predicted": guess, "tiles": count}
            for (truth, guess), count in commonest
        ],
    }


def novelty_figures(
    familiar: Mapping[str, NDArray[np.float64]],
    unseen: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> dict[str, Any]:
    """AUROC of each score, unseen classes against familiar tiles, together and one by one."""
    together = {
        name: np.concatenate([scores[name] for scores in unseen.values()]) for name in familiar
    }
    return {
        "classes": sorted(unseen),
        "tiles": len(next(iter(together.values()))),
        "auroc": {name: round(auroc(familiar[name], together[name]), 4) for name in familiar},
        "auroc_by_class": {
            kind: {name: round(auroc(familiar[name], scores[name]), 4) for name in familiar}
            for kind, scores in sorted(unseen.items())
        },
    }
