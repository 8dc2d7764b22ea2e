"""A calibration on trial: folds never part what belongs together, and halves judge each other."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.domain import Outputs
from edge_agent.evaluation.trial import confidence, confusions, deal, false_alarms, held_out
from edge_agent.scoring.calibration import OOD, Calibration, CalibrationOptions, Familiar
from edge_agent.scoring.fitting import fit_calibration

CLASSES = 4


def familiar(count: int, seed: int = 0, sharp: float = 1.0) -> Familiar:
    """Tiles whose labels are drawn from softmax(logits / sharp): T = sharp is the truth."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.0, 3.0, (count, CLASSES))
    noise = generator.gumbel(size=logits.shape)
    labels = (logits / sharp + noise).argmax(axis=1)
    return Familiar(Outputs(logits), labels, np.arange(count) // 2)


def fit(part: Familiar) -> Calibration:
    """Logit scores only."""
    return fit_calibration(part, None, options=CalibrationOptions(fuse=("energy", "gen")))


def test_folds_keep_groups_whole_and_use_every_tile() -> None:
    """Each group lies in one fold; folds differ by few tiles; fewer groups give fewer folds."""
    tiles = familiar(101)
    fold = deal(tiles, 5)
    assert tiles.groups is not None
    for group in np.unique(tiles.groups):
        assert len(np.unique(fold[tiles.groups == group])) == 1
    sizes = np.bincount(fold)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 4  # two groups of two
    assert set(deal(familiar(4), 5)) == {0, 1}


def test_held_out_tiles_are_judged_by_others_only() -> None:
    """A tile copied into its own group has the p-value of a tile unseen, not of itself."""
    tiles = familiar(300, seed=4)
    names = ("energy", OOD)
    held = held_out(tiles, fit, names)
    assert held is not None
    fold = deal(tiles, 20)
    inside = fold == fold[7]
    expected = fit(tiles.take(~inside)).judge(tiles.take(inside).outputs)
    for name in names:
        assert held.scored.p_values[name][inside] == pytest.approx(expected.p_values[name])
    assert held.folds == 20


def test_false_alarms_are_as_promised() -> None:
    """Familiar tiles in plenty: about 5 % at p <= 0.05, inside the interval that is told."""
    tiles = familiar(1500, seed=1)
    calibration = fit(tiles)
    held = held_out(tiles, fit, ("energy", OOD))
    assert held is not None
    assert held.folds == 5
    alarms = false_alarms(held, calibration, np.arange(1500))
    for name in ("energy", OOD):
        assert alarms[name].rate.low <= 0.05 <= alarms[name].rate.high
        assert alarms[name].smallest_p == calibration.smallest_p(name) < 0.01


def test_tiles_that_all_show_the_same_cannot_be_tried() -> None:
    """One group of content: nothing to hold out, and no temperature to judge."""
    tiles = familiar(20)
    same = Familiar(tiles.outputs, tiles.labels, np.zeros(20, dtype=np.int64))
    assert held_out(same, fit, (OOD,)) is None
    assert confidence(same, 1.0) is None


def test_temperature_mends_what_is_too_sure_of_itself() -> None:
    """Logits three times too large: the error falls by far, on tiles not used for it."""
    tiles = familiar(3000, seed=2, sharp=3.0)
    found = confidence(tiles, 3.0)
    assert found is not None
    assert found.confidence.error_before > 0.2
    assert found.confidence.error_after < 0.04
    assert found.before.count.sum() == found.after.count.sum() == 3000


def test_no_labels_no_confidence() -> None:
    """Without labels nobody knows how often the model is right."""
    tiles = familiar(50)
    assert confidence(Familiar(tiles.outputs), 1.0) is None


def test_confusions_by_hand() -> None:
    """The commonest first; right tiles are none."""
    truth = np.array([0, 0, 0, 1, 1, 2])
    guesses = np.array([1, 1, 2, 1, 0, 2])
    found = confusions(guesses, truth, ("a", "b", "c"))
    assert [(one.truth, one.predicted, one.tiles) for one in found] == [
        ("a", "b", 2),
        ("a", "c", 1),
        ("b", "a", 1),
    ]
    assert confusions(truth, truth, ("a", "b", "c")) == []
