"""The figures that a bundle is judged by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.dataset import Labels
from training.evaluation import Floats

_NEIGHBOUR = 5


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


def auroc(familiar: NDArray[np.float64], unseen: NDArray[np.float64]) -> float:
    """Chance that an unseen tile scores above a familiar one; ties count half."""
    order = np.sort(familiar)
    below = np.searchsorted(order, unseen, side="left")
    up_to = np.searchsorted(order, unseen, side="right")
    return float((below + up_to).mean() / 2 / len(familiar))


def _log_sum_exp(logits: Floats) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    top = wide.max(axis=1)
    total: NDArray[np.float64] = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
    return total


def unfamiliarity(logits: Floats, features: Floats, bank: Floats) -> dict[str, NDArray[np.float64]]:
    """Three scores, higher = less familiar.

    msp: Hendrycks & Gimpel 2017; energy: Liu et al. 2020; knn: Sun et al. 2022, distance to the
    5th neighbour among the l2-normalised bank features.
    """
    energy = -_log_sum_exp(logits)

    def unit(rows: Floats) -> NDArray[np.float64]:
        wide = rows.astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        scaled: NDArray[np.float64] = wide / np.maximum(lengths, 1e-12)
        return scaled

    near = np.sort(2 - 2 * unit(features) @ unit(bank).T, axis=1)[:, :_NEIGHBOUR]
    return {
        "msp": -np.exp(logits.max(axis=1).astype(np.float64) + energy),
        "energy": energy,
        "knn": np.sqrt(np.maximum(near[:, -1], 0.0)),
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
