"""Temperature and calibration error against scipy, hand arithmetic and known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from edge_agent.scoring.temperature import (
    expected_calibration_error,
    fit_temperature,
    reliability,
    tempered,
)


def test_calibration_error_by_hand() -> None:
    """Two bins: 0.6 confident and all wrong, 0.9 confident and half right: 0.5 of each gap."""
    probabilities = [[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]]
    labels = [1, 1, 0, 1]
    assert expected_calibration_error(probabilities, labels, 10) == pytest.approx(
        0.5 * 0.6 + 0.5 * 0.4
    )
    bins = reliability(probabilities, labels, 10)
    assert bins.count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 2, 0]
    assert bins.accuracy[5] == 0.0
    assert bins.accuracy[8] == 0.5
    assert np.isnan(bins.confidence[0])


def test_no_tiles_have_no_calibration_error() -> None:
    """Without tiles the error is not a number, rather than 0."""
    assert math.isnan(expected_calibration_error(np.zeros((0, 3)), np.zeros(0, dtype=int)))


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_temperature_is_found(true: float) -> None:
    """Labels drawn at a known temperature give it back, as scipy's minimiser does."""
    rng = np.random.default_rng(int(10 * true))
    logits = rng.normal(size=(6000, 5)) * 3
    odds = np.exp(log_softmax(logits / true, axis=1))
    labels = (odds.cumsum(axis=1) > rng.random((6000, 1))).argmax(axis=1)

    def loss(log_t: float) -> float:
        return float(-log_softmax(logits / math.exp(log_t), axis=1)[range(6000), labels].mean())

    scipys = math.exp(minimize_scalar(loss, bounds=(-3, 3), options={"xatol": 1e-9}).x)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(scipys, rel=1e-4)
    assert found == pytest.approx(true, rel=0.08)
    assert expected_calibration_error(tempered(logits, found), labels) < 0.02


def test_perfect_and_hopeless_logits_stay_within_bounds() -> None:
    """Separable tiles and logits of -inf give a finite temperature."""
    assert 0.05 <= fit_temperature(np.eye(4) * 30, np.arange(4)) <= 0.06
    assert 0.05 <= fit_temperature(np.array([[-np.inf, 0.0], [0.0, 1.0]]), [0, 1]) <= 20.0
