"""Intervals: against references, seeded, and wide where tiles do not speak for themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from edge_agent.evaluation.intervals import Estimate, estimates, share_of, wilson
from edge_agent.evaluation.metrics import RANKING_FIGURES, rank

GENERATOR = np.random.default_rng(11)
FAMILIAR = np.round(GENERATOR.normal(size=150), 1)
OOD = np.round(GENERATOR.normal(1.0, size=90), 1)
RANKING = rank(FAMILIAR, OOD)


@pytest.mark.parametrize(("count", "of"), [(0, 204), (3, 119), (204, 204), (7, 10)])
def test_wilson_is_scipys(count: int, of: int) -> None:
    """The score interval, at the ends too."""
    expected = binomtest(count, of).proportion_ci(0.95, "wilson")
    assert wilson(count, of) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_bootstrap_is_that_of_a_plain_loop() -> None:
    """AUROC and AUPR intervals agree with resampling tiles one draw at a time by scikit-learn."""
    generator = np.random.default_rng(5)
    truth = np.repeat([0, 1], [len(FAMILIAR), len(OOD)])
    drawn = []
    for _ in range(600):
        low = generator.choice(FAMILIAR, len(FAMILIAR))
        high = generator.choice(OOD, len(OOD))
        pooled = np.concatenate([low, high])
        drawn.append([roc_auc_score(truth, pooled), average_precision_score(truth, pooled)])
    expected = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    found = estimates(RANKING, RANKING_FIGURES)
    for column, name in enumerate(("auroc", "aupr")):
        estimate = found[name]
        assert estimate.value is not None
        assert [estimate.low, estimate.high] == pytest.approx(expected[:, column], abs=0.015)


def test_long_rankings_are_resampled_as_finely_as_anyone_could_tell() -> None:
    """Six thousand scores: the intervals are those of a slow resampling of every tile."""
    generator = np.random.default_rng(6)
    familiar, ood = generator.normal(size=4000), generator.normal(1.0, 1.5, size=2000)
    drawn = []
    for _ in range(400):
        counts = rank(generator.choice(familiar, 4000), generator.choice(ood, 2000)).counts()
        drawn.append([float(figure(counts)[0]) for figure in RANKING_FIGURES.values()])
    expected = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    found = estimates(rank(familiar, ood), RANKING_FIGURES)
    for column, estimate in enumerate(found.values()):
        assert [estimate.low, estimate.high] == pytest.approx(expected[:, column], abs=0.012)


def test_the_same_seed_gives_the_same_interval() -> None:
    """Reports of one run and the next agree to the last digit; another seed differs."""
    figures = {"auroc": RANKING_FIGURES["auroc"]}
    assert estimates(RANKING, figures) == estimates(RANKING, figures)
    assert estimates(RANKING, figures) != estimates(RANKING, figures, seed=1)


def test_every_figure_lies_in_its_own_interval() -> None:
    """The percentile interval surrounds the figure, for a ranking far from the edges."""
    for estimate in estimates(RANKING, RANKING_FIGURES).values():
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.value is not None
        assert estimate.low <= estimate.value <= estimate.high


def test_copies_of_a_tile_make_no_figure_surer() -> None:
    """Each tile five times over: the interval of tiles shrinks, that of clusters stays."""
    five = rank(np.repeat(FAMILIAR, 5), np.repeat(OOD, 5))
    clusters = (np.repeat(np.arange(150), 5), np.repeat(np.arange(90), 5))
    figures = {"auroc": RANKING_FIGURES["auroc"]}
    once = estimates(RANKING, figures)["auroc"]
    tiles = estimates(five, figures)["auroc"]
    whole = estimates(five, figures, clusters)["auroc"]

    def width(estimate: Estimate) -> float:
        assert estimate.low is not None
        assert estimate.high is not None
        return estimate.high - estimate.low

    assert width(whole) == pytest.approx(width(once), rel=0.15)
    assert width(tiles) < 0.6 * width(once)


def test_one_frame_says_nothing_of_how_sure() -> None:
    """All OOD tiles from one frame: the figure stands, its interval does not."""
    clusters = (np.arange(150), np.zeros(90, dtype=np.int64))
    found = estimates(RANKING, RANKING_FIGURES, clusters)["auroc"]
    assert found.value is not None
    assert (found.low, found.high) == (None, None)


def test_no_tiles_no_estimate() -> None:
    """An empty side: no value, no interval, no error."""
    assert estimates(rank([], [1.0, 2.0]), RANKING_FIGURES)["auroc"] == Estimate(None)


def test_a_share_of_clusters_is_as_unsure_as_their_number() -> None:
    """Ten frames of thirty tiles count as ten; nothing of nothing could be anything."""
    hits = np.repeat([True] + [False] * 9, 30)
    alone, framed = share_of(hits), share_of(hits, np.repeat(np.arange(10), 30))
    assert (framed.count, framed.of, framed.value) == (30, 300, pytest.approx(0.1))
    assert (framed.low, framed.high) == pytest.approx(wilson(1, 10))
    assert alone.high < framed.high
    empty = share_of(np.array([], dtype=bool))
    assert (empty.value, empty.low, empty.high) == (None, 0.0, 1.0)
