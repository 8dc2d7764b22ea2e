"""Area averages, against an independent exact calculation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.imagery.resample import mean_pixels, rows_needed, sum_across, sum_down
from edge_agent.imagery.source import Block


def averaged(pixels, valid, target):
    """The module's three steps on one window, in two groups of rows as a large frame would."""
    height, width, _ = pixels.shape
    middle = target[0] // 2
    parts = []
    for first, last in ((0, middle), (middle, target[0])):
        if first == last:
            continue
        above, below = rows_needed(first, last, height, target[0])
        block = Block(pixels[above:below], None if valid is None else valid[above:below])
        down = sum_down(block, first, last, height, target[0])
        parts.append(mean_pixels(sum_across(down, target[1]), height * width))
    return np.concatenate(parts)


def exact(pixels, valid, target):
    """Every output pixel by the definition, in fractions."""
    height, width, _ = pixels.shape
    out = np.zeros((*target, 3), np.uint8)

    def share(i, length, n, j):
        low, high = Fraction(i * length, n), Fraction((i + 1) * length, n)
        return max(Fraction(0), min(high, Fraction(j + 1)) - max(low, Fraction(j)))

    for i in range(target[0]):
        for k in range(target[1]):
            total, sums = Fraction(0), [Fraction(0)] * 3
            for j in range(height):
                for m in range(width):
                    weight = share(i, height, target[0], j) * share(k, width, target[1], m)
                    if weight and (valid is None or valid[j, m]):
                        total += weight
                        sums = [
                            s + weight * int(p) for s, p in zip(sums, pixels[j, m], strict=True)
                        ]
            if total:
                out[i, k] = [int(s / total + Fraction(1, 2)) for s in sums]
    return out


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_equals_the_definition_in_fractions(shape, target, seed, holes) -> None:
    """Any ratio, larger or smaller, with and without holes: the exact mean, rounded half up."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    valid = rng.random(shape) < 0.7 if holes else None
    if valid is not None:
        pixels[~valid] = 0
    assert np.array_equal(averaged(pixels, valid, target), exact(pixels, valid, target))


def test_whole_factor_is_the_block_mean() -> None:
    """Six to one: numpy's mean over 6 x 6 blocks, rounded half up."""
    pixels = np.random.default_rng(5).integers(0, 256, (96, 192, 3), dtype=np.uint8)
    means = pixels.reshape(16, 6, 32, 6, 3).mean(axis=(1, 3))
    assert np.array_equal(averaged(pixels, None, (16, 32)), np.floor(means + 0.5).astype(np.uint8))


def test_holes_do_not_darken_their_neighbours() -> None:
    """A block half without data has the mean of its other half; one without any is 0."""
    pixels = np.full((4, 4, 3), 200, np.uint8)
    valid = np.ones((4, 4), bool)
    valid[:2, 0] = False  # half of the first block
    valid[2:, 2:] = False  # all of the last
    pixels[~valid] = 0
    out = averaged(pixels, valid, (2, 2))
    assert out[..., 0].tolist() == [[200, 200], [200, 0]]


def test_a_constant_stays_constant_at_any_ratio() -> None:
    """255 everywhere stays 255: the largest sums fit, weights add up to one."""
    for source, target in ((2145, 128), (77, 128), (129, 128), (4099, 17)):
        pixels = np.full((source, 40, 3), 255, np.uint8)
        assert (averaged(pixels, None, (target, 16)) == 255).all()


@pytest.mark.parametrize("rows", [256, 257, 258, 600])
def test_long_sums_do_not_wrap(rows) -> None:
    """White stays white on both sides of where a 16-bit sum is full."""
    pixels = np.full((rows * 16, 16, 3), 255, np.uint8)
    assert (averaged(pixels, None, (16, 16)) == 255).all()
    assert (averaged(pixels, np.ones(pixels.shape[:2], bool), (16, 16)) == 255).all()
