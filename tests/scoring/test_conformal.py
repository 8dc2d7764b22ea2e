"""Conformal ranks, their class-conditional form, and the bound for small calibrations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edge_agent.scoring.conformal import rank, upper_share


def test_p_values_by_hand_with_ties() -> None:
    """(1 + #{calibration >= s}) / (n + 1), ties counted as at or above."""
    ranks = rank(np.array([2.0, 3.0, 1.0, 2.0]), np.zeros(4, dtype=np.int64), 5)
    scores = np.array([0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0])
    p = ranks.p_values(scores, np.zeros(7, dtype=np.int64))
    np.testing.assert_array_equal(p, np.array([5, 5, 4, 4, 2, 2, 1]) / 5)
    assert ranks.smallest == 1 / 5


def test_a_class_with_enough_tiles_is_ranked_by_itself() -> None:
    """With ranks of their own from two tiles on, each class is ranked among its own tiles."""
    scores = np.array([0.0, 10.0, 1.0, 2.0, 3.0])
    classes = np.array([0, 0, 1, 1, 1])
    ranks = rank(scores, classes, 2)
    p = ranks.p_values(np.array([2.5, 2.5]), np.array([0, 1]))
    np.testing.assert_array_equal(p, [2 / 3, 2 / 4])
    assert ranks.smallest == 1 / 3


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=30),
    st.lists(st.integers(-4, 4), min_size=1, max_size=5),
)
@settings(max_examples=200, deadline=None)
def test_p_values_count_literally(reference: list[int], scores: list[int]) -> None:
    """p equals the definition counted in Python, and the tiles' own p counts the tile itself."""
    values = np.array(reference, dtype=np.float64)
    classes = np.zeros(len(values), dtype=np.int64)
    ranks = rank(values, classes, 1000)
    expected = [(1 + sum(r >= s for r in reference)) / (len(reference) + 1) for s in scores]
    found = ranks.p_values(np.array(scores, dtype=np.float64), np.zeros(len(scores), np.int64))
    np.testing.assert_array_equal(found, expected)
    own = [sum(r >= s for r in reference) / (len(reference) + 1) for s in reference]
    np.testing.assert_array_equal(ranks.own_p_values(values, classes), own)


@pytest.mark.parametrize("count", [1, 7, 50, 99])
def test_small_calibrations_are_bounded_as_clopper_and_pearson_do(count: int) -> None:
    """The widened share equals the beta quantile of scipy, and never falls below the p-value."""
    for above in range(count + 1):
        bound = upper_share(count, above)
        exact = stats.beta.ppf(0.9, above + 1, count - above) if above < count else 1.0
        assert bound == pytest.approx(exact, rel=1e-9)
        assert bound >= (1 + above) / (count + 1) or above > 0.4 * count


def test_each_class_keeps_its_promise() -> None:
    """Over seeded draws a class that always scores higher is flagged no more often than a.

    Pooled ranks would flag it three times as often, which the test shows too.
    """
    rng = np.random.default_rng(3)
    own, pooled = [], []
    for _ in range(200):
        classes = rng.permutation(np.repeat([0, 1], [150, 150]))
        scores = rng.normal(size=300) + 1.5 * classes
        fresh = rng.normal(size=100) + 1.5
        ones = np.ones(100, dtype=np.int64)
        own.append((rank(scores, classes, 100).p_values(fresh, ones) <= 0.1).mean())
        pooled.append((rank(scores, classes, 1000).p_values(fresh, ones) <= 0.1).mean())
    assert np.mean(own) <= 0.1 + 3 * np.std(own) / np.sqrt(len(own))
    assert np.mean(own) >= 0.08
    assert np.mean(pooled) > 0.15


def test_a_small_hard_class_breaks_nobodys_promise() -> None:
    """A class too small for ranks of its own is not ranked among all, most of them easy tiles.

    Among all, more than a in all would be called unusual: the hard ones beside a of each easy
    class.
    """
    rng = np.random.default_rng(4)
    whole = []
    for _ in range(200):
        classes = rng.choice([0, 1, 2], p=[0.45, 0.45, 0.1], size=1000)
        scores = rng.normal(size=1000) + 2.5 * (classes == 2)
        p = rank(scores[:600], classes[:600], 100).p_values(scores[600:], classes[600:])
        whole.append((p <= 0.05).mean())
    assert np.mean(whole) <= 0.05 + 3 * np.std(whole) / np.sqrt(len(whole))
    assert np.mean(whole) >= 0.035


def test_a_rest_that_is_too_small_takes_the_smallest_class_in() -> None:
    """Two tiles of class 2 alone could never be unusual: they share ranks with class 1."""
    scores = np.arange(12.0)
    classes = np.array([0] * 6 + [1] * 4 + [2] * 2)
    ranks = rank(scores, classes, 4)
    assert set(ranks.by_class) == {0}
    p = ranks.p_values(np.array([6.0, 11.5, 5.0]), np.array([1, 2, 0]))
    np.testing.assert_array_equal(p, [7 / 7, 1 / 7, 2 / 7])


def test_a_class_never_met_is_ranked_among_all() -> None:
    """Where every class has ranks of its own, one that no calibration tile had is among all."""
    ranks = rank(np.arange(8.0), np.repeat([0, 1], 4), 4)
    assert ranks.p_values(np.array([6.5]), np.array([2]))[0] == 2 / 9
