"""Conformal p-values and quantile thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.scoring.calibration import Calibration, calibrate
from edge_agent.scoring.logits import logit_scores


def test_p_values_by_hand_with_ties() -> None:
    """(1 + #{calibration >= s}) / (n + 1), ties counted as at or above."""
    calibration = Calibration({"x": np.array([1.0, 2.0, 2.0, 3.0])})
    p = calibration.p_values("x", np.array([0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0]))
    np.testing.assert_allclose(p * 5, [5, 5, 4, 4, 2, 2, 1])


def test_few_tiles_promise_no_small_quantile() -> None:
    """With n tiles no threshold exists for a share below 1 / (n + 1)."""
    calibration = Calibration({"x": np.arange(9.0)})
    assert calibration.threshold("x", 0.95) is None
    assert calibration.threshold("x", 0.9) == 8.0
    assert calibration.threshold("x", 0.8) == 7.0


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=40),
    st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.98]),
    st.integers(-6, 6),
)
@settings(max_examples=300, deadline=None)
def test_threshold_says_the_same_as_the_p_value(
    reference: list[int], quantile: float, score: int
) -> None:
    """`score > threshold` and `p <= 1 - quantile` are one rule, ties and all."""
    calibration = Calibration({"x": np.sort(np.array(reference, dtype=np.float64))})
    p = calibration.p_values("x", np.array([float(score)]))[0]
    threshold = calibration.threshold("x", quantile)
    assert (p <= 1 - quantile + 1e-12) == (threshold is not None and score > threshold)


def test_at_most_the_promised_share_of_familiar_tiles_is_kept() -> None:
    """Over seeded draws of calibration and test tiles alike, P(p <= a) <= a for each score."""
    rng = np.random.default_rng(7)
    levels = (0.02, 0.1, 0.3)
    hits = {level: [] for level in levels}
    for _ in range(300):
        rows = rng.normal(size=(120, 5)) * 3
        calibration = calibrate(rows[:99])
        p = calibration.p_values("entropy", logit_scores(rows[99:])["entropy"])
        for level in levels:
            hits[level].append(float((p <= level).mean()))
    for level in levels:
        spread = 4 * np.std(hits[level]) / np.sqrt(300)
        assert np.mean(hits[level]) <= level + spread
        assert np.mean(hits[level]) >= 0.5 * level


def test_unusable_calibration_rows_are_left_out() -> None:
    """A NaN row in the calibration outputs does not reach the reference."""
    calibration = calibrate(np.array([[1.0, 2.0], [np.nan, 0.0], [3.0, 1.0]]))
    assert calibration.size == 2
    assert all(np.isfinite(values).all() for values in calibration.sorted_scores.values())


def test_unknown_score_is_named() -> None:
    """Asking for a score without calibration raises KeyError with its name."""
    with pytest.raises(KeyError, match="nope"):
        calibrate(np.eye(3)).p_values("nope", [1.0])
