"""The calibration as a whole: validity, out-of-fold scores, stand-ins, arrays, and what is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_agent.domain import Outputs
from edge_agent.scoring.calibration import (
    OOD,
    CalibrationError,
    CalibrationOptions,
    Familiar,
    uncalibrated,
)
from edge_agent.scoring.calibration_arrays import read_arrays, to_arrays
from edge_agent.scoring.fitting import fit_calibration, recalibrate, suggested_neighbours
from edge_agent.scoring.fusion import KINDS
from edge_agent.scoring.references import SCORE_NAMES, Head, ScoreOptions
from edge_agent.scoring.stand_ins import auroc

CLASSES, DEPTH = 4, 6
SMALL = CalibrationOptions(ScoreOptions(neighbours=5, vim_dimension=3))


class World:
    """Tiles of four classes whose embeddings scatter about their means, and a linear head."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.means = self.rng.normal(size=(CLASSES, DEPTH)) * 3
        self.head = Head(self.means.copy(), -0.5 * (self.means**2).sum(axis=1))

    def tiles(self, count: int, shift: float = 0.0) -> Familiar:
        """Tiles drawn alike, or moved off by `shift` standard deviations in a fixed direction."""
        labels = self.rng.integers(0, CLASSES, count)
        features = self.means[labels] + self.rng.normal(size=(count, DEPTH))
        features = features + shift * np.ones(DEPTH) / np.sqrt(DEPTH)
        logits = features @ self.head.weight.T + self.head.bias
        return Familiar(Outputs(logits, features), labels)


@pytest.mark.parametrize(("with_training", "draws"), [(True, 60), (False, 20)])
def test_every_p_value_keeps_its_promise(with_training: bool, draws: int) -> None:
    """Over seeded draws P(p <= a) <= a for each score and for ood, fitted references included."""
    levels = np.array([0.05, 0.2])
    rates: dict[str, list[Any]] = {}
    for seed in range(draws):
        world = World(seed)
        training = world.tiles(150) if with_training else None
        made = fit_calibration(world.tiles(100), world.head, training=training, options=SMALL)
        scored = made.judge(world.tiles(60).outputs)
        for name, p in scored.p_values.items():
            rates.setdefault(name, []).append((p[:, None] <= levels).mean(axis=0))
    assert set(rates) == {*SCORE_NAMES[:11], OOD}
    for name, found in rates.items():
        mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(len(found))
        assert (mean <= levels + 3 * error).all(), (name, mean)
        assert (mean >= 0.5 * levels).all(), (name, mean)


def test_strange_tiles_are_found() -> None:
    """Tiles moved twelve deviations off are nearly all below 0.05, familiar ones are not."""
    world = World(1)
    made = fit_calibration(world.tiles(300), world.head, training=world.tiles(400), options=SMALL)
    strange = made.judge(world.tiles(200, shift=12.0).outputs)
    familiar = made.judge(world.tiles(200).outputs)
    assert (strange.p_values[OOD] <= 0.05).mean() > 0.9
    assert (familiar.p_values[OOD] <= 0.05).mean() < 0.1
    assert auroc(familiar.scores[OOD], strange.scores[OOD]) > 0.95


def test_no_tile_is_scored_by_references_that_saw_it() -> None:
    """Without training tiles a calibration tile is not its own nearest neighbour."""
    world = World(2)
    familiar = world.tiles(80)
    one = CalibrationOptions(ScoreOptions(neighbours=1, vim_dimension=3))
    made = fit_calibration(familiar, world.head, options=one)
    assert (made.own_scores["knn"] > 0).all()
    assert made.judge(familiar.outputs).scores["knn"] == pytest.approx(0.0, abs=1e-12)


def test_equal_content_is_never_parted() -> None:
    """Twins of one group do not serve as each other's nearest neighbour."""
    world = World(3)
    tiles = world.tiles(50)
    twice = tiles.take(np.tile(np.arange(50), 2))
    groups = np.tile(np.arange(50), 2)
    one = CalibrationOptions(ScoreOptions(neighbours=1, vim_dimension=3))
    parted = fit_calibration(twice, world.head, options=one)
    held = fit_calibration(Familiar(twice.outputs, twice.labels, groups), world.head, options=one)
    assert parted.own_scores["knn"].min() == pytest.approx(0.0, abs=1e-12)
    assert held.own_scores["knn"].min() > 0


def test_a_blind_member_is_left_out_by_stand_ins() -> None:
    """An embedding of noise makes the feature scores blind to a class left out: not fused."""
    world = World(4)
    familiar, training = world.tiles(200), world.tiles(300)
    noise = [
        Familiar(Outputs(t.outputs.logits, world.rng.normal(size=(n, DEPTH))), t.labels)
        for t, n in ((familiar, 200), (training, 300))
    ]
    seeing = fit_calibration(familiar, world.head, training=training, options=SMALL)
    blind = fit_calibration(noise[0], world.head, training=noise[1], options=SMALL)
    assert "knn" in seeing.fusion.members
    assert "knn" not in blind.fusion.members
    assert blind.stand_in_auroc["knn"] == pytest.approx(0.5, abs=0.1)
    assert blind.fusion.members


def test_a_calibration_tile_met_again_ties_with_itself() -> None:
    """Alone or in a batch, a calibration tile's p-values count it, whatever a sum's last bits."""
    world = World(13)
    familiar = world.tiles(150)
    made = fit_calibration(familiar, world.head, training=world.tiles(100), options=SMALL)
    for row in range(0, 150, 7):
        p = made.judge(familiar.take(np.array([row])).outputs).p_values
        for name in SCORE_NAMES[:11]:
            above = (made.own_scores[name] >= made.own_scores[name][row]).sum()
            assert p[name][0] >= (1 + above) / 151 - 1e-12, name


def test_other_familiar_tiles_can_be_ranked_among() -> None:
    """Ranked anew among other tiles, references stay and p-values are those of the new tiles."""
    world = World(14)
    training, other, fresh = world.tiles(200), world.tiles(160), world.tiles(9).outputs
    made = fit_calibration(world.tiles(120), world.head, training=training, options=SMALL)
    again = recalibrate(made, other)
    direct = fit_calibration(other, world.head, training=training, options=SMALL)
    for name in SCORE_NAMES[:11]:
        np.testing.assert_array_equal(
            again.judge(fresh).p_values[name], direct.judge(fresh).p_values[name]
        )
    with pytest.raises(CalibrationError, match="no training tiles"):
        recalibrate(fit_calibration(other, world.head, options=SMALL), other)


def test_covariances_of_few_tiles_are_not_fused() -> None:
    """With fewer tiles than twice the features the Mahalanobis scores are told to be unsteady."""
    rng = np.random.default_rng(15)
    few = Familiar(Outputs(rng.normal(size=(50, 3)), rng.normal(size=(50, 30))), np.arange(50) % 3)
    made = fit_calibration(few, None, options=SMALL)
    assert {"mahalanobis_pp", "rmds_pp"} <= set(made.score_names)
    assert not {"mahalanobis_pp", "rmds_pp"} & set(made.fusion.members)
    assert any("unsteady" in text for text in made.warnings)


def test_tiles_of_one_class_only_leave_no_stand_in() -> None:
    """With nothing to compare a class with, members are chosen without stand-ins."""
    world = World(12)
    familiar = world.tiles(80)
    alone = Familiar(familiar.outputs, np.zeros(80, dtype=np.int64))
    made = fit_calibration(alone, world.head, options=SMALL)
    assert made.stand_in_auroc == {}
    assert made.fusion.members == KINDS[:-1]


def test_faulty_tiles_are_named_and_disturb_nobody() -> None:
    """NaN, +inf and features that are not finite give a fault and NaN; other rows stay equal."""
    world = World(5)
    made = fit_calibration(world.tiles(120), world.head, training=world.tiles(100), options=SMALL)
    good = world.tiles(6).outputs
    assert good.features is not None
    logits, features = good.logits.copy(), good.features.copy()
    logits[0, 1], logits[1, 2], logits[2] = np.nan, np.inf, -np.inf
    features[3, 0] = np.nan
    logits[4, 0] = -np.inf  # a class of probability zero is legal
    scored = made.judge(Outputs(logits, features))
    assert scored.faults[:4] == ("logits-nan", "logits-inf", "logits-none", "features-not-finite")
    assert scored.faults[4:] == (None, None)
    clean = made.judge(good)
    for name, values in scored.p_values.items():
        assert np.isnan(values[:4]).all()
        assert np.isfinite(values[4:]).all()
        assert values[5] == clean.p_values[name][5]


@pytest.mark.parametrize("with_training", [True, False])
def test_arrays_give_the_same_calibration_back(with_training: bool) -> None:
    """Written and read, it judges to the same digits; of raw arrays alone it is fitted anew."""
    world = World(6)
    familiar, fresh = world.tiles(130), world.tiles(40).outputs
    training = world.tiles(200) if with_training else None
    made = fit_calibration(familiar, world.head, training=training, options=SMALL)
    before = made.judge(fresh)
    written = to_arrays(made)
    raw = {"logits": familiar.outputs.logits, "features": familiar.outputs.features,
           "labels": familiar.labels, "head_weight": world.head.weight,
           "head_bias": world.head.bias}  # fmt: skip
    if training is not None:
        raw |= {"reference_features": training.outputs.features,
                "reference_labels": training.labels}  # fmt: skip
    for again in (read_arrays(written, classes=CLASSES), read_arrays(raw, options=SMALL)):
        after = again.judge(fresh)
        assert again.fusion.members == made.fusion.members
        for name, values in before.scores.items():
            np.testing.assert_allclose(after.scores[name], values, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(after.p_values[name], before.p_values[name], rtol=1e-9)


def test_another_k_ranks_anew() -> None:
    """Asked for another k, a written calibration gives what fitting with that k gives."""
    world = World(7)
    familiar, training, fresh = world.tiles(110), world.tiles(90), world.tiles(10).outputs
    other = CalibrationOptions(ScoreOptions(neighbours=9, vim_dimension=2))
    for reference in (training, None):
        made = fit_calibration(familiar, world.head, training=reference, options=SMALL)
        changed = read_arrays(to_arrays(made), options=other).judge(fresh)
        direct = fit_calibration(familiar, world.head, training=reference, options=other)
        for name, values in direct.judge(fresh).p_values.items():
            if name != OOD:
                np.testing.assert_allclose(changed.p_values[name], values, rtol=1e-9, err_msg=name)


def test_logits_alone_are_enough() -> None:
    """Without features, labels or head the logit scores and ood are there, the rest is named."""
    world = World(8)
    made = read_arrays({"logits": world.tiles(150).outputs.logits})
    assert made.score_names == SCORE_NAMES[:6]
    assert set(made.lacking) == set(SCORE_NAMES[6:])
    scored = made.judge(Outputs(world.tiles(5).outputs.logits))
    assert np.isfinite(scored.p_values[OOD]).all()
    assert made.temperature is None


def test_small_sets_are_said_to_be_small() -> None:
    """Below 100 tiles a warning says what the tiles allow, and ood is widened to that."""
    world = World(9)
    made = fit_calibration(world.tiles(30), world.head, training=world.tiles(80), options=SMALL)
    assert "only 30 calibration tiles" in made.warnings[0]
    scored = made.judge(world.tiles(50, shift=20.0).outputs)
    assert made.smallest_p(OOD) >= 1 - 0.1 ** (1 / 30) - 1e-12
    assert scored.p_values[OOD].min() >= made.smallest_p(OOD)
    assert scored.p_values["knn"].min() == made.smallest_p("knn") == 1 / 31


@pytest.mark.parametrize(("count", "class_minimum"), [(40, 100), (150, 100), (400, 30)])
def test_the_smallest_p_is_reached_and_never_undercut(count: int, class_minimum: int) -> None:
    """The strangest tile there can be, of each class, has the p-value that is stated, or more
    than it in no class."""
    world = World(16)
    options = CalibrationOptions(SMALL.scores, class_minimum)
    made = fit_calibration(world.tiles(count), world.head, training=world.tiles(90),
                           options=options)  # fmt: skip
    stated = made.smallest_p(OOD)
    reached = []
    for number in (None, *made.ranks["knn"].by_class):
        ranks = {name: made.ranks[name] for name in made.fusion.members}
        p = {
            name: own.p_values(np.array([np.inf]), np.array([-1 if number is None else number]))
            for name, own in ranks.items()
        }
        reached.append(float(made.fusion.p_values(made.fusion.statistic(p))[0]))
    assert max(reached) == stated


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"logits": None}, "logits missing"),
        ({"logits": np.zeros((9, 3))}, "3 classes, the model has 4"),
        ({"labels": np.full(9, 4)}, "from 0 to 3"),
        ({"labels": np.zeros(8, dtype=int)}, "labels"),
        ({"features": np.zeros((8, 6))}, "features"),
        ({"head_weight": np.zeros((4, 5))}, "head_weight"),
        ({"head_bias": np.full(4, np.nan)}, "not finite"),
        ({"head_bias": None}, "belong together"),
        ({"member_logits": np.zeros((2, 9, 5))}, "member_logits"),
        ({"groups": np.zeros(3, dtype=int)}, "groups"),
        ({"reference_features": np.zeros((5, 7))}, "reference_features"),
        ({"logits": np.full((9, 4), np.nan)}, "no tile has finite outputs"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes: dict[str, Any], expected: str) -> None:
    """Each array of a wrong shape or kind is refused by its name."""
    rng = np.random.default_rng(0)
    arrays = {"logits": rng.normal(size=(9, 4)), "features": rng.normal(size=(9, 6)),
              "labels": rng.integers(0, 4, 9), "head_weight": rng.normal(size=(4, 6)),
              "head_bias": np.zeros(4)} | changes  # fmt: skip
    with pytest.raises(CalibrationError, match=expected):
        read_arrays({k: v for k, v in arrays.items() if v is not None}, classes=4)


def test_uncalibrated_models_still_give_logit_scores() -> None:
    """Without a calibration there are scores and no p-values."""
    scored = uncalibrated(Outputs(np.array([[1.0, 2.0], [np.nan, 0.0]])))
    assert scored.p_values == {}
    assert scored.scores["max_logit"][0] == -2.0
    assert scored.faults == (None, "logits-nan")


def test_k_follows_the_classes() -> None:
    """k is a tenth of the median class, between 5 and 50."""
    assert suggested_neighbours(np.repeat([0, 1, 2], [100, 200, 300]), 600) == 20
    assert suggested_neighbours(np.repeat([0, 1], 12), 24) == 5
    assert suggested_neighbours(None, 10_000) == 50
