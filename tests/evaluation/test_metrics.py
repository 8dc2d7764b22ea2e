"""The figures of a ranking against scikit-learn, by hand, and where there is no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from edge_agent.evaluation import metrics
from edge_agent.evaluation.metrics import RANKING_FIGURES, harvest_precision_at, rank

Scores = list[float]
sides = st.lists(st.sampled_from([-1e30, -2.0, -0.5, 0.0, 0.5, 3.0, 1e30]), min_size=1, max_size=40)


def figure(name: str, familiar: Scores, ood: Scores) -> float:
    """One figure of two lists of scores."""
    return float(RANKING_FIGURES[name](rank(familiar, ood).counts())[0])


def sklearn_fpr95(truth: Any, scores: Any) -> float:
    """As OpenOOD v1.5 takes it, with every threshold kept."""
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(fpr[np.argmax(tpr >= 0.95 - 1e-12)])


REFERENCES: dict[str, Callable[[Any, Any], float]] = {
    "auroc": roc_auc_score,
    "aupr": average_precision_score,
    "fpr95": sklearn_fpr95,
}


@pytest.mark.parametrize("name", REFERENCES)
@given(familiar=sides, ood=sides)
def test_as_scikit_learn_ties_and_all(name: str, familiar: Scores, ood: Scores) -> None:
    """AUROC, AUPR and FPR95 are scikit-learn's, on many ties and huge scores too."""
    truth = np.array([0] * len(familiar) + [1] * len(ood))
    expected = REFERENCES[name](truth, np.array(familiar + ood))
    assert figure(name, familiar, ood) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", REFERENCES)
def test_as_scikit_learn_on_many_tiles(name: str) -> None:
    """The same with thousands of distinct scores."""
    generator = np.random.default_rng(3)
    familiar, ood = generator.normal(size=3000), generator.normal(1.3, 2.0, size=700)
    truth = np.repeat([0, 1], [3000, 700])
    expected = REFERENCES[name](truth, np.concatenate([familiar, ood]))
    assert figure(name, familiar.tolist(), ood.tolist()) == pytest.approx(expected, rel=1e-12)


def test_harvest_precision_by_hand() -> None:
    """Whole tiles of the pooled set, and a tie at the edge of the budget is drawn by lot."""
    familiar = [0.0] * 90 + [5.0, 3.0, 3.0]
    ood = [9.0, 3.0] + [1.0] * 5
    assert figure("harvest_1", familiar, ood) == 1.0  # one tile: 9
    assert figure("harvest_2", familiar, ood) == 0.5  # two: 9 and the familiar 5
    # Five: 9, 5, and all three at 3, of which one is OOD.
    assert figure("harvest_5", familiar, ood) == pytest.approx(2 / 5)
    # Of three equal tiles, two fit the budget of four: each comes with a chance of 2 in 3.
    assert figure("harvest_5", [0.0] * 73 + [5.0, 3.0, 3.0], ood) == pytest.approx((1 + 2 / 3) / 4)


@given(familiar=sides, ood=sides, budget=st.sampled_from([0.01, 0.05, 0.3, 1.0]))
def test_harvest_precision_is_the_mean_over_all_orders_of_ties(
    familiar: Scores, ood: Scores, budget: float
) -> None:
    """Against sorting with ties broken at random, many times."""
    got = float(metrics.harvest_precision(rank(familiar, ood).counts(), budget=budget)[0])
    scores = np.array(familiar + ood)
    truth = np.repeat([0.0, 1.0], [len(familiar), len(ood)])
    tiles = max(1, int(np.floor(budget * len(scores) + 1e-9)))
    edge = np.sort(scores)[::-1][tiles - 1]
    sure, lot = scores > edge, scores == edge
    expected = (truth[sure].sum() + truth[lot].mean() * (tiles - sure.sum())) / tiles
    assert got == pytest.approx(expected, abs=1e-12)


def test_precision_at_a_stated_prevalence_does_not_depend_on_the_sets_sizes() -> None:
    """Twice the OOD tiles with the same scores give the same precision of a flight."""
    counts = rank([0.0, 1.0, 2.0, 3.0], [2.5, 9.0]).counts()
    doubled = rank([0.0, 1.0, 2.0, 3.0], [2.5, 9.0] * 2).counts()
    at = {"budget": 0.05, "prevalence": 0.02}
    # Top 5 %: the OOD half at 9 is 1 % of the flight; 4 of the familiar 24.5 % at 3 fill it up.
    assert harvest_precision_at(counts, **at) == pytest.approx(0.01 / 0.05)
    assert harvest_precision_at(doubled, **at) == pytest.approx(0.01 / 0.05)


def test_a_perfect_ranking_reaches_the_ceiling_of_its_prevalence() -> None:
    """At 2 % OOD and a budget of 5 %, at most 40 % of the harvest can be OOD."""
    counts = rank(np.zeros(500), np.ones(100)).counts()
    assert harvest_precision_at(counts, budget=0.05, prevalence=0.02) == pytest.approx(0.4)
    assert harvest_precision_at(counts, budget=0.01, prevalence=0.02) == pytest.approx(1.0)


@pytest.mark.parametrize("name", RANKING_FIGURES)
@pytest.mark.parametrize(("familiar", "ood"), [([], []), ([], [1.0]), ([1.0, 2.0], [])])
def test_without_one_side_there_is_no_answer(name: str, familiar: Scores, ood: Scores) -> None:
    """No tiles on a side: NaN, for every figure, and no error."""
    assert np.isnan(figure(name, familiar, ood))


def test_all_equal_scores_say_nothing() -> None:
    """A constant score: a coin for AUROC, prevalence for the precisions, all familiar for FPR95."""
    familiar, ood = [0.0] * 30, [0.0] * 10
    assert figure("auroc", familiar, ood) == 0.5
    assert figure("fpr95", familiar, ood) == 1.0
    for name in ("aupr", "harvest_1", "harvest_2", "harvest_5"):
        assert figure(name, familiar, ood) == pytest.approx(0.25)


def test_a_tile_without_a_score_is_refused() -> None:
    """NaN has no place in an order: it must be counted apart before."""
    with pytest.raises(ValueError, match="without a score"):
        rank([0.0, float("nan")], [1.0])


def test_the_roc_curve_is_scikit_learns() -> None:
    """Every corner of the curve, from (0, 0) to (1, 1)."""
    familiar, ood = [0.0, 1.0, 1.0, 2.0], [1.0, 2.0, 3.0]
    found, caught = metrics.roc_curve(rank(familiar, ood))
    fpr, tpr, _ = roc_curve([0] * 4 + [1] * 3, familiar + ood, drop_intermediate=False)
    assert found == pytest.approx(fpr)
    assert caught == pytest.approx(tpr)
