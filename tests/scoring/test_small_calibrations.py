"""Calibrations that are small for what is asked of them: p-values must not promise more."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.domain import Outputs
from edge_agent.scoring.calibration import CalibrationOptions
from edge_agent.scoring.calibration_arrays import read_arrays
from edge_agent.scoring.references import ScoreOptions

Arrays = dict[str, np.ndarray]


def world(seed: int, count: int, depth: int, fresh: int) -> tuple[Arrays, Outputs]:
    """Calibration arrays and further tiles of the very same three classes."""
    rng = np.random.default_rng(seed)
    means, weight = rng.normal(size=(3, depth)), rng.normal(size=(3, depth))

    def drawn(tiles: int) -> Arrays:
        labels = rng.integers(0, 3, tiles)
        features = means[labels] + rng.normal(size=(tiles, depth))
        return {"features": features, "labels": labels, "logits": features @ weight.T}

    head = {"head_weight": weight, "head_bias": np.zeros(3)}
    calibration, tiles = drawn(count), drawn(fresh)
    return calibration | head, Outputs(tiles["logits"], tiles["features"])


@pytest.mark.parametrize(("count", "depth"), [(20, 5), (20, 40), (40, 50)])
def test_p_values_are_valid_with_fewer_tiles_than_neighbours_or_features(
    count: int, depth: int
) -> None:
    """Over many draws P(p <= a) <= a for every score, also where k or D exceed the tiles."""
    levels = np.array([0.05, 0.1, 0.2])
    shares: dict[str, list[np.ndarray]] = {}
    for seed in range(30):
        arrays, fresh = world(seed, count, depth, 40)
        for name, p in read_arrays(arrays).judge(fresh).p_values.items():
            shares.setdefault(name, []).append((p[:, None] <= levels + 1e-12).mean(axis=0))
    assert {"knn", "mahalanobis_pp", "rmds_pp", "vim", "ood"} <= set(shares)
    for name, found in shares.items():
        mean = np.mean(found, axis=0)
        error = np.std(found, axis=0) / np.sqrt(len(found))
        assert (mean - 2.0 * error <= levels).all(), (name, mean, error)


def test_k_beyond_the_tiles_is_the_last_that_every_tile_has() -> None:
    """Of 20 tiles each has 19 neighbours: k = 50 becomes 19, for new tiles as for them."""
    arrays, fresh = world(1, 20, 5, 7)
    calibration = read_arrays(arrays)
    assert calibration.options.scores.neighbours == 19
    asked = read_arrays(arrays, options=CalibrationOptions(ScoreOptions(neighbours=19)))
    np.testing.assert_array_equal(
        calibration.judge(fresh).scores["knn"], asked.judge(fresh).scores["knn"]
    )


def test_a_single_tile_ranks_logits_alone() -> None:
    """With nothing to hold out the logit scores have p-values of 1/2 and 1, the features none."""
    arrays, fresh = world(2, 1, 5, 9)
    calibration = read_arrays(arrays)
    assert calibration.score_names == ("msp", "max_logit", "entropy", "margin", "energy", "gen")
    judged = calibration.judge(fresh)
    assert set(judged.p_values["energy"]) <= {0.5, 1.0}
    assert np.isfinite(judged.scores["knn"]).all()


def test_rounding_of_nothing_is_no_strangeness() -> None:
    """Zero vectors in a class of zero vectors lie at distance 0, one by one as in a batch."""
    arrays, _ = world(3, 60, 16, 1)
    arrays["features"][::3] = 0.0
    arrays["labels"] = np.arange(60) % 3
    calibration = read_arrays(arrays)
    whole = calibration.judge(Outputs(arrays["logits"], arrays["features"]))
    for row in range(0, 60, 3):
        one = slice(row, row + 1)
        alone = calibration.judge(Outputs(arrays["logits"][one], arrays["features"][one]))
        for name, p in alone.p_values.items():
            assert p[0] == whole.p_values[name][row], (name, row)


def test_the_layout_in_memory_changes_nothing() -> None:
    """Logits stored by columns have the very scores and p-values of those stored by rows."""
    rng = np.random.default_rng(4)
    for classes in (3, 10, 50):
        logits = rng.normal(size=(40, classes))
        calibration = read_arrays({"logits": logits})
        by_rows = calibration.judge(Outputs(logits))
        by_columns = calibration.judge(Outputs(np.asfortranarray(logits)))
        for name, p in by_rows.p_values.items():
            np.testing.assert_array_equal(by_columns.p_values[name], p)
            np.testing.assert_array_equal(by_columns.scores[name], by_rows.scores[name])
