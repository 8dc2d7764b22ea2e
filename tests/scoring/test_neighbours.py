"""Distance to the k-th neighbour against high precision, scipy and scikit-learn."""

from __future__ import annotations

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from edge_agent.scoring.neighbours import Bank, balanced_rows, fit_bank, knn

Array = npt.NDArray[np.float64]


def exact(tile: Array, bank: Array) -> list[float]:
    """Ascending distances between directions, with 60 digits."""
    with mpmath.workdps(60):
        z, *others = (_unit(row) for row in [tile.tolist(), *bank.tolist()])
        return sorted(float(mpmath.norm(z - other)) for other in others)


def _unit(row: list[float]) -> mpmath.matrix:
    column = mpmath.matrix(row)
    length = mpmath.norm(column)
    return column / length if length else column


@pytest.mark.parametrize("k", [1, 2, 7, 20, 50])
def test_distances_equal_sixty_digit_arithmetic(k: int) -> None:
    """Every k gives mpmath's distance to 1e-12; a k above the bank's size is the farthest."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(20, 5))
    tiles = np.vstack([rng.normal(size=(4, 5)), features[:2] * 3, -features[:1]])
    for tile, found in zip(tiles, knn(tiles, Bank(features), k), strict=True):
        assert found == pytest.approx(exact(tile, features)[min(k, 20) - 1], rel=1e-12, abs=1e-25)


@pytest.mark.parametrize(("rows", "depth", "k"), [(4096, 128, 50), (700, 128, 50), (97, 3, 10)])
def test_scikit_learn_agrees(rows: int, depth: int, k: int) -> None:
    """NearestNeighbors on normalised features gives the same to 1e-6 for hundreds of tiles."""
    rng = np.random.default_rng(rows)
    features = rng.normal(size=(rows, depth)).astype(np.float32)
    tiles = np.vstack([rng.normal(size=(150, depth)), features[:9] + 1e-3]).astype(np.float32)
    neighbours = NearestNeighbors(n_neighbors=k, algorithm="ball_tree").fit(
        normalize(features.astype(np.float64))
    )
    distances, _ = neighbours.kneighbors(normalize(tiles.astype(np.float64)))
    np.testing.assert_allclose(knn(tiles, Bank(features), k), distances[:, -1], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e-7, 1e-9, 1e-12, 1e-15, 1e-20])
def test_near_duplicates_are_exact_however_near(scale: float) -> None:
    """Neighbours at 1e-3 down to 1e-20 have the distance that mpmath gives to 1e-6 relative."""
    rng = np.random.default_rng(2)
    tile = np.zeros(8)
    tile[:4] = [1.0, 2.0, -3.0, 0.5]
    features = np.tile(tile, (60, 1))
    features[:, 4:] = rng.normal(size=(60, 4)) * scale
    if scale > 1e-14:
        features[:, :4] += rng.normal(size=(60, 4)) * scale
    bank = fit_bank(np.vstack([features, rng.normal(size=(200, 8))]), None, 4096)
    truth = exact(tile, features)
    for k in (1, 2, 30, 60):
        assert knn(tile[None], bank, k)[0] == pytest.approx(truth[k - 1], rel=1e-6)


def test_neighbours_that_single_precision_cannot_tell_apart() -> None:
    """Sixty neighbours between 0.5 and 0.5 + 6e-9: each k finds its own, to 1e-12."""
    angles = np.random.default_rng(3).permutation(0.5 + 1e-10 * np.arange(60))
    near = np.stack([np.cos(angles), np.sin(angles), np.zeros(60)], axis=1)
    far = np.random.default_rng(4).normal(size=(500, 3)) * 0.1 - np.array([1.0, 0.0, 0.0])
    bank = Bank(np.vstack([near, far]))
    for k in range(1, 61):
        expected = 2 * np.sin((0.5 + 1e-10 * (k - 1)) / 2)
        assert knn([[2.0, 0.0, 0.0]], bank, k)[0] == pytest.approx(expected, rel=1e-12)


def test_duplicates_are_at_distance_zero() -> None:
    """A tile of the bank, and the same times a power of two, is exactly 0 away from itself."""
    features = np.random.default_rng(5).normal(size=(300, 128)).astype(np.float32)
    bank = fit_bank(features, None, 4096)
    assert knn(features, bank, 1).tolist() == [0.0] * 300
    assert knn(features.astype(np.float64) * 2.0**-90, bank, 1).tolist() == [0.0] * 300
    assert (knn(features, bank, 2) > 0.5).all()
    alike = fit_bank(np.tile(features[:1], (5000, 1)), None, 4096)
    assert knn(features[:64], alike, 50)[0] == 0.0
    assert len(np.unique(knn(np.tile(features[1:2], (64, 1)), alike, 50))) == 1


def test_vectors_without_direction() -> None:
    """A zero vector is 1 away from every direction and 0 from another zero vector."""
    features = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [-1.0, 0.0]])
    zero, right = [[0.0, 0.0]], [[5.0, 0.0]]
    assert [knn(zero, Bank(features), k)[0] for k in range(1, 6)] == [0.0, 0.0, 1.0, 1.0, 1.0]
    found = [knn(right, Bank(features), k)[0] for k in range(1, 6)]
    assert found == pytest.approx([0.0, 1.0, 1.0, np.sqrt(2.0), 2.0], rel=1e-15)
    many = np.vstack([np.zeros((100, 2)), np.tile([[0.28, 0.96]], (3000, 1))])
    assert knn(right, Bank(many), 100)[0] == 1.0
    assert knn(right, Bank(many), 101)[0] == pytest.approx(1.2, rel=1e-12)
    assert knn(zero, Bank(many), 101)[0] == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize("length", [1e-320, 1e-160, 1e30, 1e200, 1e308])
def test_length_does_not_count(length: float) -> None:
    """Directions are the same for vectors at the ends of float64."""
    tile = np.array([[0.25, -0.5, 1.0]])
    features = np.random.default_rng(6).normal(size=(40, 3))
    expected = knn(tile, Bank(features), 5)[0]
    rel = 1e-3 if length < 1e-310 else 1e-12  # a denormal has few digits
    assert knn(tile * length, Bank(features), 5)[0] == pytest.approx(expected, rel=rel)
    largest = features / np.abs(features).max() * length
    assert knn(tile, Bank(largest), 5)[0] == pytest.approx(expected, rel=rel)


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.sampled_from([1e-9, 1e-4, 1.0]))
@settings(max_examples=60, deadline=None)
def test_scipy_agrees_on_clumps(seed: int, k: int, spread: float) -> None:
    """Tight clumps, repeated rows, any bank: the k-th of cdist's sorted distances."""
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(2, 12))
    clumps = rng.normal(size=(int(rng.integers(1, 5)), depth))
    count = int(rng.integers(1, 2500))
    features = clumps[rng.integers(0, len(clumps), count)]
    features = features + rng.normal(size=features.shape) * spread
    features[rng.integers(0, count, count // 3)] = features[0]
    tiles = np.vstack([rng.normal(size=(3, depth)), clumps, features[:2]])
    distances = np.sort(cdist(normalize(tiles), normalize(features)), axis=1)
    found = knn(tiles, Bank(features), k)
    np.testing.assert_allclose(found, distances[:, min(k, count) - 1], rtol=1e-6, atol=1e-14)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_rotation_order_and_company_do_not_count(seed: int) -> None:
    """Turned together, the bank in another order, one tile at a time: the same distances."""
    rng = np.random.default_rng(seed)
    features, tiles = rng.normal(size=(300, 6)), rng.normal(size=(70, 6))
    found = knn(tiles, Bank(features), 9)
    turn = ortho_group.rvs(6, random_state=seed)
    turned = knn(tiles @ turn, Bank(rng.permutation(features) @ turn), 9)
    np.testing.assert_allclose(turned, found, rtol=1e-11)
    alone = np.concatenate([knn(tile[None], Bank(features), 9) for tile in tiles])
    np.testing.assert_allclose(alone, found, rtol=1e-14)


def test_bank_is_cut_down_evenly_over_the_classes() -> None:
    """Classes of 5, 2 and 10 rows share 9 places: 4, 2 and 3, at even steps of each."""
    labels = np.array([0] * 5 + [1] * 2 + [2] * 10)
    # Of 5 rows 4 at steps of 1.25, of 10 rows 3 at steps of 3.3, from half a step on.
    assert balanced_rows(labels, 9).tolist() == [0, 1, 3, 4, 5, 6, 8, 12, 15]
    assert balanced_rows(labels, 17).tolist() == list(range(17))
    assert balanced_rows(labels, 2).tolist() == [2, 6]
    assert balanced_rows(np.zeros(9, np.int64), 3).tolist() == [1, 4, 7]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200), st.integers(1, 210))
@example([0] * 5 + [1] + [2] * 5, 7)
@settings(max_examples=200, deadline=None)
def test_bank_is_balanced(labels: list[int], size: int) -> None:
    """It is as large as it may be; no class has fewer rows than another unless it has no more."""
    given_labels = np.array(labels)
    rows = balanced_rows(given_labels, size)
    assert len(rows) == min(size, len(labels)) == len(set(rows.tolist()))
    kept, all_of_them = (np.bincount(x, minlength=7) for x in (given_labels[rows], given_labels))
    cut = kept < all_of_them
    assert not cut.any() or kept[cut].min() >= kept.max() - 1


def test_bank_keeps_the_precision_of_its_features() -> None:
    """Single precision where that holds them exactly, else double: no digit is lost."""
    rows = np.random.default_rng(7).normal(size=(6, 3))
    for kind in (np.float16, np.float32):
        assert fit_bank(rows.astype(kind), None, 10).features.dtype == np.float32
    fine = fit_bank(rows, None, 10).features
    assert fine.dtype == np.float64
    np.testing.assert_array_equal(fine, rows)
    np.testing.assert_array_equal(fit_bank(rows * 1e300, None, 10).features, rows * 1e300)
