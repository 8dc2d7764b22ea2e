"""Disagreement of members against high precision and hand-computed values."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax
from scipy.stats import entropy

from edge_agent.scoring.ensembles import ensemble_entropy, ensemble_mutual_information

HOSTILE = {
    "agree": [[1.0, 2.0, 3.0]] * 3,
    "oppose": [[1e30, 0.0], [0.0, 1e30]],
    "one in two": [[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]],
    "nearly agree": [[1.0, 2.0, 3.0], [1.0 + 1e-7, 2.0, 3.0]],
    "very nearly agree": [[1.0, 2.0, 3.0, -4.0], [1.0, 2.0 + 3e-9, 3.0, -4.0]],
    "certain": [[300.0, 0.0, 1.0], [310.0, 0.0, 2.0], [290.0, 0.0, 0.0]],
    "impossible class": [[1.0, -math.inf, 0.0], [0.0, -math.inf, 0.5]],
    "impossible to one": [[1.0, -math.inf], [0.0, 0.0]],
    "one member": [[0.3, 0.2, 0.1]],
    "one class": [[5.0], [7.0]],
    "huge and equal": [[1e30, 1e30], [-1e30, -1e30]],
    "rounding": [[37.0, 0.0], [37.5, 0.0]],
}


def exact(members: list[list[float]]) -> tuple[mpmath.mpf, mpmath.mpf]:
    """H(mean p) and H(mean p) - mean H(p) by their definitions."""
    probabilities = []
    for logits in members:
        weights = [mpmath.exp(mpmath.mpf(v) - max(logits)) if v > -math.inf else 0 for v in logits]
        probabilities.append([weight / sum(weights) for weight in weights])
    mean = [sum(column) / len(members) for column in zip(*probabilities, strict=True)]
    own = sum(_entropy(p) for p in probabilities) / len(members)
    return _entropy(mean), _entropy(mean) - own


def _entropy(p: list[mpmath.mpf]) -> mpmath.mpf:
    return -sum(share * mpmath.log(share) for share in p if share > 0)


@pytest.mark.parametrize("name", HOSTILE)
def test_scores_equal_exact_arithmetic(name: str) -> None:
    """Both agree with mpmath to 1e-6 relative, where members nearly agree or are nearly certain."""
    members = np.array(HOSTILE[name])[:, None, :]
    with mpmath.workdps(400):
        total, mutual = (float(value) for value in exact(HOSTILE[name]))
    assert ensemble_entropy(members)[0] == pytest.approx(total, rel=1e-12, abs=1e-300)
    assert ensemble_mutual_information(members)[0] == pytest.approx(mutual, rel=1e-6, abs=1e-300)


def test_by_hand() -> None:
    """Two certain members that disagree: ln 2 both; (3/4, 1/4) and (1/4, 3/4): ln 2 and less."""
    opposed = np.array([[[1e4, 0.0]], [[0.0, 1e4]]])
    assert ensemble_entropy(opposed)[0] == pytest.approx(math.log(2), rel=1e-15)
    assert ensemble_mutual_information(opposed)[0] == pytest.approx(math.log(2), rel=1e-15)
    third = math.log(3.0)
    leaning = np.array([[[third, 0.0]], [[0.0, third]]])
    own = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert ensemble_entropy(leaning)[0] == pytest.approx(math.log(2), rel=1e-15)
    mutual = math.log(2) - own
    assert ensemble_mutual_information(leaning)[0] == pytest.approx(mutual, rel=1e-13)


def test_members_that_agree_have_nothing_to_tell() -> None:
    """With equal members, or a single one, the mutual information is exactly 0."""
    logits = np.random.default_rng(1).normal(size=(1, 40, 7)) * 6
    for members in (1, 2, 3, 5, 7):
        assert not ensemble_mutual_information(np.repeat(logits, members, axis=0)).any()


def test_scipy_agrees() -> None:
    """scipy's entropies of scipy's softmax give the same to 1e-9."""
    logits = np.random.default_rng(2).normal(size=(5, 200, 10)) * 3
    p = softmax(logits, axis=2)
    total = entropy(p.mean(axis=0), axis=1)
    np.testing.assert_allclose(ensemble_entropy(logits), total, rtol=1e-10)
    mutual = total - entropy(p, axis=2).mean(axis=0)
    np.testing.assert_allclose(ensemble_mutual_information(logits), mutual, rtol=1e-9)


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)),
        elements=st.floats(-40, 40, width=32),
    ),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_order_shift_company_and_range(logits: np.ndarray, seed: int) -> None:
    """Neither the order of members or classes, nor a member's shift, nor other tiles count.

    0 <= mutual information <= entropy <= ln C, and <= ln M.
    """
    members, tiles, classes = logits.shape
    rng = np.random.default_rng(seed)
    total, mutual = ensemble_entropy(logits), ensemble_mutual_information(logits)
    moved = logits[rng.permutation(members)][:, :, rng.permutation(classes)]
    moved = moved + rng.uniform(-9, 9, size=(members, tiles, 1))
    np.testing.assert_allclose(ensemble_entropy(moved), total, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(ensemble_mutual_information(moved), mutual, rtol=1e-6, atol=1e-13)
    for row in range(tiles):
        assert ensemble_entropy(logits[:, [row]])[0] == pytest.approx(total[row], rel=1e-12)
    assert (mutual >= 0).all()
    assert (mutual <= total + 1e-12).all()
    assert (mutual <= math.log(members) + 1e-12).all()
    assert (total <= math.log(classes) + 1e-12).all()
