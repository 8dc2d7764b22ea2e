"""Mahalanobis distances against high precision, scipy and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import pinvh
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from scipy.stats import ortho_group
from sklearn.covariance import EmpiricalCovariance
from sklearn.preprocessing import normalize

from edge_agent.scoring.mahalanobis import fit_gaussians, mahalanobis_pp, rmds_pp

Array = npt.NDArray[np.float64]


def clusters(rows: int, depth: int, classes: int, seed: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Gaussian clusters off the origin whose directions vary by very different amounts."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    spread = np.geomspace(1.0, 0.01, depth)
    centres = rng.normal(size=(classes, depth)) * spread * 2 + 1.0
    return centres[labels] + rng.normal(size=(rows, depth)) * spread, labels


def exact(features: Array, labels: npt.NDArray[np.int64], tile: Array) -> tuple[float, float]:
    """mahalanobis_pp and rmds_pp by their definitions, with 60 digits; pinv by eigenvectors."""
    with mpmath.workdps(60):
        unit = [_unit(row) for row in features.tolist()]
        z = _unit(tile.tolist())
        groups = {c: [u for u, n in zip(unit, labels, strict=True) if n == c] for c in set(labels)}
        means = {c: _mean(members) for c, members in groups.items()}
        within = [u - means[c] for u, c in zip(unit, labels, strict=True)]
        centre = _mean(unit)
        inverse = _pinv(_covariance(within))
        overall = _pinv(_covariance([u - centre for u in unit]))
        near = min(_form(z - mean, inverse) for mean in means.values())
        return float(near), float(near - _form(z - centre, overall))


def _unit(row: list[float]) -> mpmath.matrix:
    column = mpmath.matrix(row)
    length = mpmath.norm(column)
    return column / length if length else column


def _mean(columns: list[mpmath.matrix]) -> mpmath.matrix:
    return sum(columns[1:], columns[0]) / len(columns)


def _covariance(columns: list[mpmath.matrix]) -> mpmath.matrix:
    return _mean([c * c.T for c in columns])


def _form(column: mpmath.matrix, matrix: mpmath.matrix) -> mpmath.mpf:
    return (column.T * matrix * column)[0]


def _pinv(matrix: mpmath.matrix) -> mpmath.matrix:
    values, vectors = mpmath.eigsy(matrix)
    floor = max(values) * mpmath.mpf(10) ** -25
    inverse = mpmath.diag([1 / v if v > floor else mpmath.mpf(0) for v in values])
    return vectors * inverse * vectors.T


@pytest.mark.parametrize(
    ("rows", "depth", "classes"),
    [(30, 4, 3), (12, 2, 1), (7, 5, 2), (6, 6, 3), (4, 6, 4), (9, 3, 9)],
)
def test_distances_equal_sixty_digit_arithmetic(rows: int, depth: int, classes: int) -> None:
    """Both scores agree with mpmath to 1e-9, with as few rows as classes and fewer than D too."""
    features, labels = clusters(rows, depth, classes, seed=rows)
    gaussians = fit_gaussians(features, labels)
    tiles = np.vstack([features[:2] * 3.0, np.random.default_rng(1).normal(size=(3, depth))])
    for tile, near, relative in zip(
        tiles, mahalanobis_pp(tiles, gaussians), rmds_pp(tiles, gaussians), strict=True
    ):
        truth, relative_truth = exact(features, labels, tile)
        assert near == pytest.approx(truth, rel=1e-9, abs=1e-18)
        assert relative == pytest.approx(relative_truth, rel=1e-9, abs=1e-9)


def test_directions_that_hardly_vary() -> None:
    """With variances from 1 to 1e-10 both scores still agree with mpmath to 1e-6."""
    rng = np.random.default_rng(8)
    labels = np.arange(40) % 2
    features = np.array([3.0, 1.0, 0.0, 0.0]) + labels[:, None] * np.array([0.3, 0.0, 1e-5, 0.0])
    features += rng.normal(size=(40, 4)) * np.array([1.0, 0.3, 1e-3, 1e-5])
    gaussians = fit_gaussians(features, labels)
    tiles = features[:3] + rng.normal(size=(3, 4)) * np.array([0.0, 0.0, 0.0, 1e-2])
    for row, tile in enumerate(tiles):
        near, relative = exact(features, labels, tile)
        assert mahalanobis_pp(tiles, gaussians)[row] == pytest.approx(near, rel=1e-6)
        assert rmds_pp(tiles, gaussians)[row] == pytest.approx(relative, rel=1e-6)


def reference(features: Array, labels: npt.NDArray[np.int64], tiles: Array) -> tuple[Array, Array]:
    """Both scores by scikit-learn's covariances."""
    unit, z = normalize(features), normalize(tiles)
    _, dense = np.unique(labels, return_inverse=True)
    means = np.stack([unit[dense == number].mean(axis=0) for number in range(dense.max() + 1)])
    within = EmpiricalCovariance(assume_centered=True).fit(unit - means[dense])
    near = np.min([within.mahalanobis(z - mean) for mean in means], axis=0)
    return near, near - EmpiricalCovariance().fit(unit).mahalanobis(z)


@pytest.mark.parametrize(("rows", "classes"), [(2000, 10), (400, 17), (119, 17), (60, 5)])
def test_scikit_learn_agrees(rows: int, classes: int) -> None:
    """EmpiricalCovariance gives the same to 1e-6 at D = 128, with fewer rows than D too."""
    rng = np.random.default_rng(rows)
    labels = rng.integers(0, classes, rows)
    features = rng.normal(size=(classes, 128))[labels] + rng.normal(size=(rows, 128)) + 1.0
    tiles = rng.normal(size=(40, 128))
    gaussians = fit_gaussians(features, labels)
    near, relative = reference(features, labels, tiles)
    np.testing.assert_allclose(mahalanobis_pp(tiles, gaussians), near, rtol=1e-6)
    np.testing.assert_allclose(rmds_pp(tiles, gaussians), relative, rtol=1e-6, atol=1e-7)


def test_scikit_learn_agrees_on_a_real_embedding(repository: Path) -> None:
    """On what the shipped scene model makes of its calibration tiles both give the same to 1e-6."""
    with np.load(repository / "models" / "scenes-aerial" / "calibration.npz") as arrays:
        features, labels = arrays["features"].astype(np.float64), arrays["labels"]
    held = np.arange(len(features)) % 4 == 0
    gaussians = fit_gaussians(features[~held], labels[~held])
    near, relative = reference(features[~held], labels[~held], features[held])
    np.testing.assert_allclose(mahalanobis_pp(features[held], gaussians), near, rtol=1e-6)
    np.testing.assert_allclose(rmds_pp(features[held], gaussians), relative, rtol=1e-6)


def test_scipy_agrees_with_dead_and_doubled_features() -> None:
    """A feature that is always zero and one that repeats another make the covariance singular."""
    features, labels = clusters(80, 5, 4, seed=2)
    features[:, 1] = 0.0
    features[:, 4] = features[:, 0]
    unit = normalize(features)
    means = np.stack([unit[labels == c].mean(axis=0) for c in range(4)])
    inverse = pinvh(EmpiricalCovariance(assume_centered=True).fit(unit - means[labels]).covariance_)
    tiles = np.random.default_rng(3).normal(size=(20, 5))
    expected = [min(scipy_mahalanobis(z, m, inverse) ** 2 for m in means) for z in normalize(tiles)]
    found = mahalanobis_pp(tiles, fit_gaussians(features, labels))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_two_classes_by_hand() -> None:
    """Directions at +-a about two axes: variance sin^2 a / 2 along each axis, means at cos a."""
    a = 0.25
    turned = [(np.cos(a), np.sin(a)), (np.cos(a), -np.sin(a))]
    features = np.array([*turned, *[(y, x) for x, y in turned]]) * [[2.0], [3.0], [4.0], [5.0]]
    gaussians = fit_gaussians(features, [0, 0, 1, 1])
    # Class means (cos a, 0), (0, cos a); within-class variance sin^2 a / 2 on both axes.
    expected = 2 * (1 - np.cos(a)) ** 2 / np.sin(a) ** 2
    assert mahalanobis_pp([[7.0, 0.0]], gaussians)[0] == pytest.approx(expected, rel=1e-12)
    # All: mean (cos a / 2, cos a / 2), variance sin^2 a / 2 + cos^2 a / 4, covariance -cos^2 a / 4.
    s, c = np.sin(a) ** 2 / 2, np.cos(a) ** 2 / 4
    x, y = 1 - np.cos(a) / 2, -np.cos(a) / 2
    overall = (x + y) ** 2 / (2 * s) + (x - y) ** 2 / (2 * (s + 2 * c))
    assert rmds_pp([[7.0, 0.0]], gaussians)[0] == pytest.approx(expected - overall, rel=1e-12)


def test_nothing_varies() -> None:
    """Rows that are all alike, or one of each class, leave no direction: distance 0, not noise."""
    alike = np.tile([[0.1, 0.2, 0.7]], (9, 1))
    tiles = np.eye(3)
    assert mahalanobis_pp(tiles, fit_gaussians(alike, np.arange(9) % 3)).tolist() == [0.0] * 3
    assert rmds_pp(tiles, fit_gaussians(alike, np.arange(9) % 3)).tolist() == [0.0] * 3
    one_each = fit_gaussians(np.random.default_rng(0).normal(size=(4, 3)), [0, 1, 2, 3])
    assert mahalanobis_pp(tiles, one_each).tolist() == [0.0] * 3


def test_a_single_class_is_the_global_gaussian() -> None:
    """With one class rmds_pp is 0 for every tile."""
    features, _ = clusters(50, 4, 1, seed=5)
    gaussians = fit_gaussians(features, np.full(50, 7))
    assert rmds_pp(np.random.default_rng(0).normal(size=(9, 4)), gaussians).tolist() == [0.0] * 9


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_rotation_length_and_names_of_classes_do_not_count(seed: int) -> None:
    """The scores stay when all features are turned, each stretched, or the classes renamed."""
    rng = np.random.default_rng(seed)
    features, labels = clusters(60, 6, 3, seed)
    tiles = rng.normal(size=(5, 6))
    gaussians = fit_gaussians(features, labels)
    turn = ortho_group.rvs(6, random_state=seed)
    stretched = features * rng.uniform(0.1, 10, size=(60, 1))
    moved = fit_gaussians(stretched @ turn, np.array([40, 2, 9])[labels])
    other = (tiles * rng.uniform(1e-20, 1e20, size=(5, 1))) @ turn
    for score in (mahalanobis_pp, rmds_pp):
        np.testing.assert_allclose(
            score(other, moved), score(tiles, gaussians), rtol=1e-8, atol=1e-8
        )


def test_many_classes_in_many_tiles() -> None:
    """More differences than are held at a time: each tile scores as it does alone."""
    features, labels = clusters(900, 64, 300, seed=6)
    gaussians = fit_gaussians(features, labels)
    tiles = np.random.default_rng(1).normal(size=(50, 64))
    alone = np.concatenate([mahalanobis_pp(tile[None], gaussians) for tile in tiles])
    np.testing.assert_allclose(mahalanobis_pp(tiles, gaussians), alone, rtol=1e-12)
