"""Scores from logits against high-precision arithmetic and hand-computed values."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_agent.scoring.logits import LOGIT_SCORES, logit_scores, softmax, usable_rows

HOSTILE = [
    [0.0, 0.0, 0.0],
    [1.0, 2.0, 3.0],
    [1e4, -1e4, 0.0],
    [-1e4, -1e4, -1e4],
    [1e30, -1e30, 0.0],
    [1e30, 1e30, -1e30],
    [7.0, 7.0, 1.0],
    [2.0, -math.inf, 1.0],
    [0.0, -math.inf, -math.inf],
    [-745.5, 0.0, -800.0],
    [1e-12, 0.0, -1e-12],
]


def exact(logits: list[float]) -> dict[str, float]:
    """The definitions, literally, with 60 digits."""
    with mpmath.workdps(60):
        highest = max(logits)
        weights = [
            mpmath.mpf(0) if value == -math.inf else mpmath.exp(mpmath.mpf(value) - highest)
            for value in logits
        ]
        total = sum(weights)
        p = sorted((weight / total for weight in weights), reverse=True)
        entropy = -sum(share * mpmath.log(share) for share in p if share > 0)
        return {
            "msp": float(-p[0]),
            "max_logit": -highest,
            "entropy": float(entropy),
            "margin": float(-(p[0] - (p[1] if len(p) > 1 else 0))),
        }


@pytest.mark.parametrize("row", HOSTILE)
def test_scores_equal_sixty_digit_arithmetic(row: list[float]) -> None:
    """Every score agrees with mpmath to 1e-9 relative on hostile logits."""
    scores = logit_scores(np.array([row]))
    for name, truth in exact(row).items():
        assert scores[name][0] == pytest.approx(truth, rel=1e-9, abs=1e-12), name


def test_one_class_is_certain() -> None:
    """With a single class the tile is as familiar as can be."""
    scores = logit_scores(np.array([[3.5]]))
    assert {name: values[0] for name, values in scores.items()} == {
        "msp": -1.0,
        "max_logit": -3.5,
        "entropy": 0.0,
        "margin": -1.0,
    }


def test_two_equal_logits_by_hand() -> None:
    """Two classes at 1/2: msp -0.5, entropy ln 2, margin 0."""
    scores = logit_scores(np.array([[0.0, 0.0]]))
    assert scores["msp"][0] == -0.5
    assert scores["entropy"][0] == pytest.approx(math.log(2), rel=1e-15)
    assert scores["margin"][0] == 0.0


def test_unusable_rows_are_told_apart() -> None:
    """NaN, +inf and a row of -inf are unusable; one class at -inf is legal."""
    rows = np.array([[1, 2], [np.nan, 0], [np.inf, 0], [-np.inf, -np.inf], [-np.inf, 0]])
    assert usable_rows(rows).tolist() == [True, False, False, False, True]


finite_logits = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(2, 9)),
    elements=st.floats(-50, 50, width=32),
)


@given(finite_logits)
@settings(max_examples=150, deadline=None)
def test_batch_equals_one_by_one(logits: np.ndarray) -> None:
    """A tile's score does not depend on its neighbours in the batch."""
    whole = logit_scores(logits)
    for row in range(len(logits)):
        single = logit_scores(logits[row : row + 1])
        for name in LOGIT_SCORES:
            assert single[name][0] == pytest.approx(whole[name][row], rel=1e-12, abs=1e-15)


@given(finite_logits, st.floats(-100, 100), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_shift_and_permutation(logits: np.ndarray, shift: float, random) -> None:  # type: ignore[no-untyped-def]
    """Softmax scores ignore a common shift, all ignore the order of classes; max_logit shifts."""
    order = list(range(logits.shape[1]))
    random.shuffle(order)
    moved = logit_scores(logits[:, order] + shift)
    for name, values in logit_scores(logits).items():
        expected = values - shift if name == "max_logit" else values
        np.testing.assert_allclose(moved[name], expected, rtol=1e-9, atol=1e-11)


@given(finite_logits)
@settings(max_examples=150, deadline=None)
def test_ranges_hold(logits: np.ndarray) -> None:
    """msp, entropy and margin stay within the ranges that their docstrings state."""
    classes = logits.shape[1]
    scores = logit_scores(logits)
    assert ((scores["msp"] >= -1) & (scores["msp"] <= -1 / classes + 1e-12)).all()
    assert ((scores["entropy"] >= 0) & (scores["entropy"] <= math.log(classes) + 1e-12)).all()
    assert ((scores["margin"] >= -1) & (scores["margin"] <= 0)).all()
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1.0, rtol=1e-12)
