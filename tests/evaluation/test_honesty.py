"""Figures that flatter are found out, and none that do not."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.domain import Outputs
from edge_agent.evaluation.honesty import calibrated_on


def outputs(count: int, width: int | None, seed: int) -> Outputs:
    """Made-up outputs; features as a rectifier leaves them, so much alike."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (count, 4)).astype(np.float32)
    if width is None:
        return Outputs(logits)
    return Outputs(logits, np.abs(generator.normal(1, 0.5, (count, width))).astype(np.float32))


def shaken(given: Outputs, by: float) -> Outputs:
    """The same tiles looked at in another way: each value off by about that share of it."""
    generator = np.random.default_rng(9)
    features = given.features
    if features is not None:
        features = features * (1 + generator.normal(0, by, features.shape))
    return Outputs(given.logits * (1 + generator.normal(0, by, given.logits.shape)), features)


@pytest.mark.parametrize(("width", "by"), [(None, 1e-6), (4, 1e-6), (128, 1e-6), (128, 0.006)])
def test_calibration_tiles_are_known_again(width: int | None, by: float) -> None:
    """By the noise of batching; with an embedding, also where images were averaged otherwise."""
    known = outputs(600, width, 1)
    assert calibrated_on(shaken(known, by), known).all()


@pytest.mark.parametrize("width", [None, 4, 128])
def test_other_tiles_are_not_taken_for_calibration_tiles(width: int | None) -> None:
    """Nor where few features come near each other by chance."""
    assert not calibrated_on(outputs(600, width, 2), outputs(600, width, 1)).any()
