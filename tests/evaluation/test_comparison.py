"""Scored sets to figures: invalid tiles apart, pooled sets, the odd tiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from edge_agent.evaluation.comparison import ScoredSet, familiar_figures, group_figures
from edge_agent.scoring.calibration import Scored

Floats = npt.NDArray[np.float64]
GENERATOR = np.random.default_rng(8)


def scored(name: str, scores: Floats, p_values: Floats | None = None) -> ScoredSet:
    """A set with one score; NaN is a tile with a fault."""
    faults = tuple("logits-nan" if np.isnan(value) else None for value in scores)
    p = {} if p_values is None else {"energy": p_values}
    return ScoredSet(name, Scored({"energy": scores}, p, faults), np.arange(len(scores)))


FAMILIAR = scored("familiar", np.array([0.0, 1.0, 2.0, 3.0, np.nan, 4.0]))
NEAR = scored("near", np.array([2.5, np.nan, 5.0]))
FAR = scored("far", np.array([9.0, 8.0, 7.0]))


def test_invalid_tiles_are_counted_apart() -> None:
    """A tile without a score is in no figure, and the prevalence does not know it."""
    group = group_figures("near", "near", FAMILIAR, [NEAR], 0.02)
    assert (group.tiles, group.invalid, group.prevalence) == (3, 1, pytest.approx(2 / 7))
    assert group.scores["energy"].figures["auroc"].value == pytest.approx((3 + 5) / 10)
    ours = familiar_figures(FAMILIAR, None)
    assert (ours.tiles, ours.invalid, ours.accuracy) == (6, 1, None)


def test_pooled_sets_are_one_ranking() -> None:
    """Two sets pooled rank as all their tiles together."""
    group = group_figures("all", "ood", FAMILIAR, [NEAR, FAR], 0.02)
    values = [0.0, 1.0, 2.0, 3.0, 4.0, 2.5, 5.0, 9.0, 8.0, 7.0]
    expected = roc_auc_score([0] * 5 + [1] * 5, values)
    assert group.scores["energy"].figures["auroc"].value == pytest.approx(expected)
    assert group.sets == ("near", "far")


def test_clusters_of_two_sets_stay_apart() -> None:
    """Frame 0 of one flight is not frame 0 of another: the interval knows of both."""
    one = ScoredSet("one", FAR.scored, np.zeros(3, dtype=np.int64))
    alone = group_figures("one", "ood", FAMILIAR, [one], 0.02)
    both = group_figures("all", "ood", FAMILIAR, [one, one], 0.02)
    assert alone.scores["energy"].figures["aupr"].low is None
    assert both.scores["energy"].figures["aupr"].low is not None


def test_shares_at_or_below_alpha_by_hand() -> None:
    """p <= alpha counts ties; invalid tiles are left out of the share."""
    p_values = np.array([0.01, 0.02, 0.05, 0.5, np.nan])
    found = scored("x", np.array([4.0, 3.0, 2.0, 1.0, np.nan]), p_values)
    rates = familiar_figures(found, None).false_harvest["energy"]
    assert [(rates[a].count, rates[a].of) for a in ("0.01", "0.02", "0.05")] == [
        (1, 4),
        (2, 4),
        (3, 4),
    ]
    group = group_figures("x", "ood", found, [found], 0.02)
    assert group.scores["energy"].found["0.05"].value == pytest.approx(0.75)
    assert group.scores["energy"].auroc_of_p is not None
    assert group.scores["energy"].auroc_of_p.value == 0.5


def test_misclassification_is_the_ranking_of_wrong_against_right() -> None:
    """Against scikit-learn, on the valid tiles only; without labels there is none."""
    scores = GENERATOR.normal(size=80)
    right = GENERATOR.random(80) < 0.8
    scores[~right] += 1.0
    expected = roc_auc_score(~right, scores)
    shown = familiar_figures(scored("x", scores), right)
    assert shown.misclassification["energy"].value == pytest.approx(expected)
    assert shown.accuracy is not None
    assert shown.accuracy.value == pytest.approx(right.mean())


def test_a_model_that_is_always_right_has_no_wrong_tiles_to_rank() -> None:
    """No wrong tile: the figure has no value, and nothing fails."""
    shown = familiar_figures(FAMILIAR, np.ones(6, dtype=bool))
    assert shown.misclassification["energy"].value is None


def test_sets_without_one_valid_tile_have_no_figures() -> None:
    """All outputs broken: counted, no value, no error."""
    broken = scored("broken", np.full(4, np.nan))
    group = group_figures("broken", "ood", FAMILIAR, [broken], 0.02)
    assert (group.tiles, group.invalid) == (4, 4)
    assert all(one.value is None for one in group.scores["energy"].figures.values())
