"""The figures on a model card, against values worked out by hand or by other means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from training.dataset import Tiles, shrink
from training.figures import accuracy_figures, wilson_interval

from edge_agent.scoring.stand_ins import auroc


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        (9, 10, 0.5958, 0.9821),  # published example values of the score interval
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson_interval(right: int, count: int, low: float, high: float) -> None:
    """The 95 % score interval, to four digits."""
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_solves_its_own_equation() -> None:
    """Its ends are the shares p with |p^ - p| = z sqrt(p (1 - p) / n)."""
    for end in wilson_interval(187, 204):
        assert abs(187 / 204 - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 204))


def test_accuracy_by_class_and_confusions() -> None:
    """Four tiles, one b taken for c."""
    logits = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 2], [0, 0, 2]], dtype=np.float32)
    figures = accuracy_figures(logits, np.array([0, 1, 1, 2]), ["a", "b", "c"])
    assert (figures["right"], figures["tiles"], figures["accuracy"]) == (3, 4, 0.75)
    assert figures["by_class"]["b"]["accuracy"] == 0.5
    assert figures["confusions"] == [{"truth": "b", "predicted": "c", "tiles": 1}]


def test_auroc_counts_pairs_and_halves_ties() -> None:
    """Against the definition, pair by pair, on scores with many ties."""
    generator = np.random.default_rng(0)
    familiar = generator.integers(0, 8, 60).astype(np.float64)
    unseen = generator.integers(3, 11, 40).astype(np.float64)
    pairs = [(u > f) + (u == f) / 2 for u in unseen for f in familiar]
    assert auroc(familiar, unseen) == pytest.approx(float(np.mean(pairs)))


def test_shrink_is_an_area_average() -> None:
    """Every output pixel is the mean of its 2 x 2 square (rounded by rows, then by columns)."""
    image = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    means = image.astype(np.float64).reshape(1, 4, 2, 4, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrink(image, 4) - means).max() <= 1.0
    assert shrink(image, 8) is image


@pytest.mark.parametrize(
    ("labels", "names"), [([0, 5], ("t0", "t1")), ([0, 1], ("t0",)), ([-1, 0], ("t0", "t1"))]
)
def test_tiles_that_do_not_fit_together_are_refused(labels: list[int], names: tuple[str]) -> None:
    """A label out of range or arrays of different length would train nonsense silently."""
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="must"):
        Tiles(images, np.array(labels), ("a", "b"), np.arange(2), names)
