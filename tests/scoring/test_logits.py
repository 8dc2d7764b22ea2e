"""Scores from logits against high-precision arithmetic and hand-computed values."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import logsumexp
from scipy.special import softmax as scipy_softmax
from scipy.stats import entropy as scipy_entropy

from edge_agent.scoring.logits import (
    LOGIT_SCORES,
    energy,
    gen,
    logit_scores,
    softmax,
    taken_apart,
    usable_rows,
)

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
    [-600.5, 0.0, -650.0],
    [1e-12, 0.0, -1e-12],
    [1e4, 1e4, 1e4, 1e4],
    [-1e30, -1e30, -1e30],
    [1e30, 0.0, -math.inf],
    [40.0, 0.0, 0.0, -3.0],
    [690.0, 0.0, -1.0],
    [690.8, 690.8, 0.0],
    [2000.0, 0.0, -5.0],
    [30.0, 29.0, 28.0, 27.0, 26.0, 25.0, 24.0, 23.0, 22.0, 21.0, 20.0, 19.0],
    [5.0, *[0.0] * 20],
    [3.5],
    [-1e30],
]


def exact(logits: list[float], power: float = 0.1, classes: int = 10) -> dict[str, mpmath.mpf]:
    """The definitions, literally, with enough digits that nothing cancels."""
    highest = max(logits)
    weights = [
        mpmath.mpf(0) if value == -math.inf else mpmath.exp(mpmath.mpf(value) - highest)
        for value in logits
    ]
    total = sum(weights)
    p = sorted((weight / total for weight in weights), reverse=True)
    return {
        "msp": -p[0],
        "max_logit": mpmath.mpf(-highest),
        "entropy": -sum(share * mpmath.log(share) for share in p if share > 0),
        "margin": -(p[0] - (p[1] if len(p) > 1 else 0)),
        "energy": -(highest + mpmath.log(total)),
        "gen": sum(
            (share * (sum(p[:at]) + sum(p[at + 1 :]))) ** mpmath.mpf(power) if share > 0 else 0
            for at, share in enumerate(p[:classes])
        ),
    }


@pytest.mark.parametrize("row", HOSTILE, ids=str)
def test_scores_equal_exact_arithmetic(row: list[float]) -> None:
    """Every score agrees with mpmath to 1e-12 relative, however small, on hostile logits."""
    scores = logit_scores(np.array([row]))
    with mpmath.workdps(400):
        truth = {name: float(value) for name, value in exact(row).items()}
    assert scores.keys() == truth.keys()
    for name, value in truth.items():
        assert scores[name][0] == pytest.approx(value, rel=1e-12, abs=1e-290), name


@pytest.mark.parametrize("power", [0.01, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("classes", [1, 2, 3, 5, 100])
def test_gen_with_other_powers_and_classes(power: float, classes: int) -> None:
    """GEN agrees with mpmath to 1e-12 relative for every power and number of classes."""
    for row in HOSTILE:
        with mpmath.workdps(400):
            truth = float(exact(row, power, classes)["gen"])
        assert gen([row], power, classes)[0] == pytest.approx(truth, rel=1e-12, abs=1e-290)


def test_gen_by_hand() -> None:
    """(1/2, 1/4, 1/4): sqrt(p (1 - p)) is 1/2 and sqrt(3)/4 twice; (3/4, 1/4): 3/16 each."""
    halves = [[math.log(2.0), 0.0, 0.0]]
    root = math.sqrt(3.0) / 4.0
    assert gen(halves, 0.5, 1)[0] == pytest.approx(0.5, rel=1e-14)
    assert gen(halves, 0.5, 2)[0] == pytest.approx(0.5 + root, rel=1e-14)
    assert gen(halves, 0.5, 3)[0] == pytest.approx(0.5 + 2 * root, rel=1e-14)
    assert gen([[math.log(3.0), 0.0]])[0] == pytest.approx(2 * (3 / 16) ** 0.1, rel=1e-14)


def test_gen_sees_a_class_of_one_in_e_to_the_700() -> None:
    """p near 1 with another of e^-700: both p (1 - p) are e^-700, so gen is 2 e^-70."""
    assert gen([[700.0, 0.0]])[0] == pytest.approx(2 * math.exp(-70), rel=1e-13)
    assert gen([[7000.0, 0.0]])[0] == pytest.approx(2 * math.exp(-700), rel=1e-12)
    assert gen([[0.0, -math.inf]])[0] == 0.0


@pytest.mark.parametrize(("power", "classes"), [(0.0, 10), (-1.0, 10), (math.nan, 10), (0.1, 0)])
def test_gen_refuses_what_it_cannot_use(power: float, classes: int) -> None:
    """A power that is not positive or no class at all is an error, not a number."""
    with pytest.raises(ValueError, match="gen needs"):
        gen([[1.0, 0.0]], power, classes)


@pytest.mark.parametrize("height", [1e30, -1e30, 1e300, -1e300])
def test_energy_and_max_logit_keep_every_digit_of_huge_logits(height: float) -> None:
    """At 1e30 the logarithm of a few classes is below the last digit: -l to the last bit."""
    row = [[height, height, height]]
    assert energy(row)[0] == -height
    assert logit_scores(row)["max_logit"][0] == -height


def test_one_class_is_certain() -> None:
    """With a single class the tile is as familiar as can be."""
    scores = logit_scores(np.array([[3.5]]))
    assert {name: values[0] for name, values in scores.items()} == {
        "msp": -1.0,
        "max_logit": -3.5,
        "entropy": 0.0,
        "margin": -1.0,
        "energy": -3.5,
        "gen": 0.0,
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


def test_scipy_agrees() -> None:
    """Entropy, energy and the probabilities agree with scipy's to 1e-12 relative."""
    logits = np.random.default_rng(3).normal(size=(200, 10)) * 5
    scores = logit_scores(logits)
    probabilities = scipy_softmax(logits, axis=1)
    np.testing.assert_allclose(softmax(logits), probabilities, rtol=1e-12)
    np.testing.assert_allclose(scores["entropy"], scipy_entropy(probabilities, axis=1), rtol=1e-11)
    np.testing.assert_allclose(scores["energy"], -logsumexp(logits, axis=1), rtol=1e-12)


def test_many_classes() -> None:
    """A thousand classes: the ten most probable of them make GEN."""
    logits = np.random.default_rng(4).normal(size=(3, 1000)) * 3
    for row, found in zip(logits, gen(logits), strict=True):
        with mpmath.workdps(40):
            truth = float(exact(row.tolist())["gen"])
        assert found == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int64])
def test_other_numbers_score_as_their_float64(kind: type) -> None:
    """The precision of the logits given does not reach the arithmetic."""
    rows = np.array([[3, 1, 2], [100, -100, 0]]).astype(kind)
    for name, values in logit_scores(rows.astype(np.float64)).items():
        np.testing.assert_array_equal(logit_scores(rows)[name], values)
        assert values.dtype == np.float64


def test_logits_taken_apart_once_serve_every_score() -> None:
    """A score of the prepared logits is that of the logits, to the last bit."""
    logits = np.random.default_rng(5).normal(size=(20, 6)) * 4
    apart = taken_apart(logits)
    for name, score in LOGIT_SCORES.items():
        np.testing.assert_array_equal(score(apart), score(logits))
        np.testing.assert_array_equal(score(apart), logit_scores(logits)[name])
    np.testing.assert_array_equal(softmax(apart), softmax(logits))


def test_no_rows_give_no_scores() -> None:
    """An empty batch is a batch."""
    assert {len(values) for values in logit_scores(np.zeros((0, 5))).values()} == {0}


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
    """A common shift moves max_logit and energy alone; the order of classes moves none."""
    order = list(range(logits.shape[1]))
    random.shuffle(order)
    moved = logit_scores(logits[:, order] + shift)
    for name, values in logit_scores(logits).items():
        expected = values - shift if name in ("max_logit", "energy") else values
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
    assert (scores["energy"] <= scores["max_logit"]).all()
    assert (scores["energy"] >= scores["max_logit"] - math.log(classes) - 1e-12).all()
    assert ((scores["gen"] >= 0) & (scores["gen"] <= min(classes, 10) * 0.25**0.1)).all()
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1.0, rtol=1e-12)
