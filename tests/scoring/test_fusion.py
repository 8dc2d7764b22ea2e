"""Fusion: the statistic by hand, the choice of members, and that ood is a valid p-value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_agent.scoring.conformal import rank
from edge_agent.scoring.fusion import Fusion, choose_members, fuse, statistic


def test_statistic_by_hand() -> None:
    """Of four p-values the two smallest count whole and the others a quarter, of one that one."""
    p = {"a": np.array([0.5]), "b": np.array([0.01]), "c": np.array([0.1]), "d": np.array([1.0])}
    assert statistic(p, "abcd")[0] == pytest.approx(
        -2 * (math.log(0.01) + math.log(0.1) + 0.25 * math.log(0.5))
    )
    assert statistic(p, "acd")[0] == pytest.approx(-2 * (math.log(0.1) + math.log(0.5)))
    assert statistic(p, "d")[0] == 0.0


def test_members_are_one_per_kind_without_the_weak() -> None:
    """Relatives of a member are not fused, and a member blind to the stand-ins is left out."""
    present = ("msp", "entropy", "energy", "gen", "knn", "vim")
    aurocs = {"msp": 0.99, "entropy": 0.99, "energy": 0.95, "gen": 0.96, "knn": 0.90, "vim": 0.92}
    assert choose_members(present, aurocs, classes=5, tiles=10_000) == ("energy", "gen", "vim")
    assert choose_members(present, {}, classes=5, tiles=10_000) == ("energy", "gen", "knn", "vim")
    assert choose_members(("msp", "margin"), {}, classes=5, tiles=10_000) == ("msp", "margin")
    both = ("gen", "mahalanobis_pp", "rmds_pp")
    assert choose_members(both, {}, classes=5, tiles=10_000) == both
    assert choose_members(both, {}, classes=2, tiles=10_000) == ("gen", "mahalanobis_pp")


def literal_full_conformal(scores: np.ndarray, new: np.ndarray) -> float:
    """Full conformal prediction of the fused statistic, computed with nothing clever.

    scores (m, n) of the calibration tiles and new (m,) of the tile: all n + 1 tiles are ranked
    among all others, score by score, and the new tile's statistic among the statistics.
    """
    together = np.concatenate([scores, new[:, None]], axis=1)
    members, count = together.shape
    statistics = []
    for tile in range(count):
        logs = sorted(
            -2 * math.log(sum(together[m, j] >= together[m, tile] for j in range(count)) / count)
            for m in range(members)
        )
        statistics.append(sum(logs[members // 2 :]) + 0.25 * sum(logs[: members // 2]))
    mine = statistics[-1]
    return sum(value >= mine - 1e-9 * max(abs(mine), 1.0) for value in statistics) / count


def fused(scores: np.ndarray) -> tuple[Fusion, dict[str, object]]:
    """The product's fusion of (m, n) calibration scores, and the ranks it rests on."""
    names = [f"s{m}" for m in range(len(scores))]
    classes = np.zeros(scores.shape[1], dtype=np.int64)
    ranks = {name: rank(row, classes, 10**6) for name, row in zip(names, scores, strict=True)}
    own = {
        name: ranks[name].own_p_values(row, classes)
        for name, row in zip(names, scores, strict=True)
    }
    return fuse(names, own), ranks  # type: ignore[return-value]


def test_never_smaller_than_full_conformal_prediction() -> None:
    """ood is at least what full conformal prediction gives, hence valid, and close to it."""
    rng = np.random.default_rng(5)
    zero = np.zeros(1, dtype=np.int64)
    gaps = []
    for _ in range(10):
        scores = rng.normal(size=(5, 120)) + 0.8 * rng.normal(size=120)
        scores = np.round(scores, rng.integers(0, 3))  # ties
        fusion, ranks = fused(scores)
        for shift in (0.0, 1.0, 4.0):
            new = rng.normal(size=5) + shift
            p = {f"s{m}": ranks[f"s{m}"].p_values(new[m : m + 1], zero) for m in range(5)}  # type: ignore[attr-defined]
            found = float(fusion.p_values(fusion.statistic(p))[0])
            exact = literal_full_conformal(scores, new)
            assert found >= exact - 1e-12
            gaps.append(found - exact)
    assert np.mean(gaps) < 0.02


@pytest.mark.parametrize("count", [100, 150, 400])
def test_ood_keeps_its_promise_over_many_draws(count: int) -> None:
    """P(ood <= a) <= a over 400 seeded draws of dependent scores, and it is not idle either."""
    rng = np.random.default_rng(count)
    levels = np.array([0.02, 0.05, 0.1, 0.3])
    rates = []
    for _ in range(400):
        everything = rng.standard_t(3, size=(4, count + 40)) + 1.5 * rng.normal(size=count + 40)
        fusion, ranks = fused(everything[:, :count])
        zero = np.zeros(40, dtype=np.int64)
        p = {f"s{m}": ranks[f"s{m}"].p_values(everything[m, count:], zero) for m in range(4)}  # type: ignore[attr-defined]
        ood = fusion.p_values(fusion.statistic(p))
        rates.append((ood[:, None] <= levels).mean(axis=0))
    mean, error = np.mean(rates, axis=0), np.std(rates, axis=0) / np.sqrt(len(rates))
    assert (mean <= levels + 3 * error).all()
    assert (mean >= 0.6 * levels - 1 / (count + 1)).all()


def test_small_calibrations_widen() -> None:
    """With 50 tiles the smallest ood is 1 - 0.1^(1/50), not 1/51; with 100 it is 1/101."""
    for count, smallest in ((50, 1 - 0.1 ** (1 / 50)), (100, 1 / 101)):
        fusion, _ = fused(np.random.default_rng(0).normal(size=(3, count)))
        assert fusion.p_values(np.array([1e3]))[0] == pytest.approx(smallest, rel=1e-9)
        assert fusion.p_values(np.array([0.0]))[0] == 1.0
