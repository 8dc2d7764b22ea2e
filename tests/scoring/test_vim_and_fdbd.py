"""Null space and decision boundaries against high precision and hand-computed values."""

from __future__ import annotations

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh
from scipy.special import logsumexp
from scipy.stats import ortho_group

from edge_agent.scoring.fdbd import fdbd, fit_boundaries
from edge_agent.scoring.logits import energy
from edge_agent.scoring.vim import fit_null_space, paper_dimension, vim

Array = npt.NDArray[np.float64]


def world(
    seed: int, rows: int = 30, depth: int = 5, classes: int = 3
) -> tuple[Array, Array, Array, Array]:
    """Fitting features, head weight, head bias, and tiles to score."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, depth)) * np.geomspace(3.0, 0.1, depth) + 0.5
    return (
        features,
        rng.normal(size=(classes, depth)),
        rng.normal(size=classes),
        rng.normal(size=(6, depth)) * 2,
    )


def exact_vim(
    features: Array, weight: Array, bias: Array, tile: Array, logits: Array, dimension: int
) -> float:
    """ViM by its definition with 60 digits: eigenvectors of the uncentred covariance about u."""
    with mpmath.workdps(60):
        w, b = mpmath.matrix(weight.tolist()), mpmath.matrix(bias.tolist())
        if w.rows <= w.cols:  # pinv(W) of full rank
            u = -(w.T * mpmath.inverse(w * w.T) * b)
        else:
            u = -(mpmath.inverse(w.T * w) * w.T * b)
        rows = [mpmath.matrix(row) for row in features.tolist()]
        covariance = mpmath.zeros(w.cols)
        for row in rows:
            covariance += (row - u) * (row - u).T / len(rows)
        _, vectors = mpmath.eigsy(covariance)  # ascending
        null = vectors[:, : w.cols - dimension]
        alpha = sum(max(w * row + b) for row in rows) / sum(
            mpmath.norm(null.T * (row - u)) for row in rows
        )
        residual = mpmath.norm(null.T * (mpmath.matrix(tile.tolist()) - u))
        total = mpmath.log(sum(mpmath.exp(value) for value in logits.tolist()))
        return float(alpha * residual - total)


@pytest.mark.parametrize(("depth", "classes"), [(5, 3), (3, 5), (4, 1), (6, 2)])
def test_vim_equals_sixty_digit_arithmetic(depth: int, classes: int) -> None:
    """Every dimension below D agrees with mpmath to 1e-9, with more classes than features too."""
    features, weight, bias, tiles = world(depth, depth=depth, classes=classes)
    null_space = fit_null_space(features, weight, bias)
    logits = tiles @ weight.T + bias
    for dimension in range(depth):
        for tile, row, found in zip(
            tiles, logits, vim(tiles, logits, null_space, dimension), strict=True
        ):
            truth = exact_vim(features, weight, bias, tile, row, dimension)
            assert found == pytest.approx(truth, rel=1e-9, abs=1e-9)


def test_vim_by_hand() -> None:
    """Axes x and y; |y| is the residual: maximum logits 2 0 1 0, lengths 0 0 1 1, so alpha 1.5."""
    features = [[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    null_space = fit_null_space(features, np.eye(2), np.zeros(2))
    found = vim([[3.0, 2.0]], [[3.0, 2.0]], null_space, 1)
    assert found[0] == pytest.approx(1.5 * 2.0 - np.log(np.exp(3.0) + np.exp(2.0)), rel=1e-14)
    # With a bias the head's origin is where both logits are 0, and all moves there.
    moved = fit_null_space(np.array(features) - [5.0, 7.0], np.eye(2), np.array([5.0, 7.0]))
    np.testing.assert_allclose(moved.origin, [-5.0, -7.0], rtol=1e-14)
    assert vim([[-2.0, -5.0]], [[3.0, 2.0]], moved, 1)[0] == pytest.approx(found[0], rel=1e-12)


def test_an_independent_dense_formula_agrees_at_depth_128() -> None:
    """At D = 128, d = 64 the projector from scipy's eigh gives the same to 1e-6."""
    features, weight, bias, _ = world(1, rows=900, depth=128, classes=10)
    tiles = np.random.default_rng(2).normal(size=(50, 128))
    logits = tiles @ weight.T + bias
    origin = -np.linalg.pinv(weight) @ bias
    centred = features - origin
    _, vectors = eigh(centred.T @ centred)
    outside = np.eye(128) - vectors[:, 64:] @ vectors[:, 64:].T
    alpha = (features @ weight.T + bias).max(axis=1).sum() / np.linalg.norm(
        centred @ outside, axis=1
    ).sum()
    expected = alpha * np.linalg.norm((tiles - origin) @ outside, axis=1) - logsumexp(logits, 1)
    found = vim(tiles, logits, fit_null_space(features, weight, bias))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_papers_dimensions() -> None:
    """1000 from D = 2048 on, 512 from 768 on, else half; 64 at 128."""
    assert [paper_dimension(d) for d in (2048, 2047, 768, 767, 128, 3, 1)] == [
        1000, 512, 512, 383, 64, 1, 0,
    ]  # fmt: skip
    features, weight, bias, tiles = world(3, depth=5)
    null_space = fit_null_space(features, weight, bias)
    logits = tiles @ weight.T + bias
    np.testing.assert_array_equal(vim(tiles, logits, null_space), vim(tiles, logits, null_space, 2))


def test_without_a_residual_vim_is_the_energy() -> None:
    """Nothing is left beside all D axes, nor beside the 4 that 4 fitting rows can span."""
    features, weight, bias, tiles = world(4, rows=4, depth=7)
    null_space = fit_null_space(features, weight, bias)
    logits = tiles @ weight.T + bias
    for dimension in (4, 5, 6, 7, 1000):
        np.testing.assert_array_equal(vim(tiles, logits, null_space, dimension), energy(logits))
    assert (vim(tiles, logits, null_space, 3) != energy(logits)).all()


def test_head_without_a_bias_or_weight_of_its_own() -> None:
    """Weight rows that repeat, or are all zero, have a pseudo-inverse too."""
    features, weight, bias, tiles = world(5)
    doubled = weight[[0, 0, 1]]
    for head in (doubled, np.zeros_like(weight)):
        found = vim(tiles, tiles @ head.T + bias, fit_null_space(features, head, bias), 2)
        assert np.isfinite(found).all()
    np.testing.assert_allclose(
        fit_null_space(features, doubled, bias[[0, 0, 1]]).origin,
        fit_null_space(features, weight[:2], bias[:2]).origin,
        rtol=1e-9,
    )


def test_nearly_repeated_weights_do_not_throw_the_origin_far_off() -> None:
    """A singular value of W below 1e-5 of the largest counts as none, one above counts."""
    for small, expected in ((1e-4, [-2.0, -3e4]), (1e-6, [-2.0, 0.0])):
        null_space = fit_null_space(np.ones((3, 2)), np.diag([1.0, small]), [2.0, 3.0])
        np.testing.assert_allclose(null_space.origin, expected, rtol=1e-12)


def exact_fdbd(features: Array, weight: Array, tile: Array, logits: Array) -> float:
    """fDBD by its definition with 60 digits."""
    with mpmath.workdps(60):
        w = [mpmath.matrix(row) for row in weight.tolist()]
        scores = [mpmath.mpf(value) for value in logits.tolist()]
        first = max(range(len(w)), key=lambda c: scores[c])
        others = [c for c in range(len(w)) if c != first]
        mean = sum(
            (scores[first] - scores[c]) / mpmath.norm(w[first] - w[c]) for c in others
        ) / len(others)
        rows = [mpmath.matrix(row) for row in features.tolist()]
        centre = sum(rows[1:], rows[0]) / len(rows)
        return float(-mean / mpmath.norm(mpmath.matrix(tile.tolist()) - centre))


def test_fdbd_equals_sixty_digit_arithmetic() -> None:
    """Logits of the head, huge ones and ties: mpmath's value to 1e-12."""
    features, weight, _, tiles = world(6)
    boundaries = fit_boundaries(features, weight)
    logits = np.array(
        [[1.0, 2, 3], [1e30, -1e30, 0], [1e4, 1e4 - 1e-9, -1e4], [5, 5, 1], [0, 0, 0], [-1, -2, -3]]
    )
    for tile, row, found in zip(tiles, logits, fdbd(tiles, logits, boundaries), strict=True):
        assert found == pytest.approx(exact_fdbd(features, weight, tile, row), rel=1e-12)


def test_fdbd_by_hand() -> None:
    """Boundaries 2/sqrt 2 and 2/2 away, mean (1 + sqrt 2)/2; the tile is 5 from the mean."""
    weight = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    boundaries = fit_boundaries([[0.0, 0.0], [2.0, 2.0]], weight)
    found = fdbd([[4.0, 5.0]], [[3.0, 1.0, 1.0]], boundaries)
    assert found[0] == pytest.approx(-(1 + np.sqrt(2)) / 2 / 5, rel=1e-14)


def test_classes_without_a_boundary_are_left_out() -> None:
    """Equal weight rows and classes of probability zero do not count; with none left it is 0."""
    weight = [[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 5.0]]
    boundaries = fit_boundaries([[0.0, 0.0]], weight)
    logits = [[4.0, 3.0, 0.0, -np.inf], [4.0, 3.0, -np.inf, -np.inf]]
    found = fdbd([[2.0, 0.0]] * 2, logits, boundaries)
    assert found.tolist() == [-4 / 2 / 2, 0.0]
    assert not np.signbit(found[1])
    one = fit_boundaries([[0.0, 0.0]], [[1.0, 2.0]])
    assert fdbd([[2.0, 0.0]], [[3.0]], one).tolist() == [0.0]


def test_a_tile_at_the_mean_feature_is_finite() -> None:
    """It counts as far away as the mean is rounded; with undecided logits it is 0."""
    weight = np.eye(2)
    boundaries = fit_boundaries([[3.0, 4.0]], weight)
    found = fdbd([[3.0, 4.0]] * 2, [[1.0, 0.0], [1.0, 1.0]], boundaries)
    assert found[0] == pytest.approx(-1 / np.sqrt(2) / (5 * 2.0**-52), rel=1e-12)
    assert found[1] == 0.0
    nowhere = fit_boundaries([[0.0, 0.0]], weight)
    assert np.isfinite(fdbd([[0.0, 0.0]], [[1.0, 0.0]], nowhere)).all()


@pytest.mark.parametrize("size", [0.0, 1e-320, 1e30, 1e200, 1.7e308])
def test_hostile_features_have_finite_scores(size: float) -> None:
    """Zero vectors and the ends of float64 give finite vim and fdbd without a warning."""
    features, weight, bias, tiles = world(7)
    hostile = tiles / np.abs(tiles).max() * size
    logits = np.array([[1e30, 0.0, -1e30], [-1e30] * 3, [1e308, -1e308, 0], *[[1.0, 2, 3]] * 3])
    null_space = fit_null_space(features, weight, bias)
    for dimension in range(6):
        assert np.isfinite(vim(hostile, logits, null_space, dimension)).all()
    assert np.isfinite(fdbd(hostile, logits, fit_boundaries(features, weight))).all()
    if size == 1e200:
        expected = vim(hostile * 1e-190, logits, null_space, 2)[3] * 1e190
        assert vim(hostile, logits, null_space, 2)[3] == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.floats(-50, 50))
@settings(max_examples=40, deadline=None)
def test_rotation_order_of_classes_and_shift(seed: int, shift: float) -> None:
    """All turned together, classes in another order: the same. A shift of logits moves vim alone.

    And a tile scores alone as it does among others.
    """
    features, weight, bias, tiles = world(seed, depth=6, classes=4)
    logits = tiles @ weight.T + bias
    turn, order = ortho_group.rvs(6, random_state=seed), np.random.default_rng(seed).permutation(4)
    null_space, boundaries = (
        fit_null_space(features, weight, bias),
        fit_boundaries(features, weight),
    )
    virtual, distance = vim(tiles, logits, null_space, 3), fdbd(tiles, logits, boundaries)
    moved_null = fit_null_space(features @ turn, (weight @ turn)[order], bias[order])
    moved_boundaries = fit_boundaries(features @ turn, (weight @ turn)[order])
    moved = logits[:, order] + shift
    np.testing.assert_allclose(
        vim(tiles @ turn, moved, moved_null, 3), virtual - shift, rtol=1e-8, atol=1e-8
    )
    np.testing.assert_allclose(
        fdbd(tiles @ turn, moved, moved_boundaries), distance, rtol=1e-9, atol=1e-12
    )
    for row in range(len(tiles)):
        one = slice(row, row + 1)
        alone = vim(tiles[one], logits[one], null_space, 3)[0]
        assert alone == pytest.approx(virtual[row], rel=1e-11, abs=1e-11)
        assert fdbd(tiles[one], logits[one], boundaries)[0] == distance[row]
