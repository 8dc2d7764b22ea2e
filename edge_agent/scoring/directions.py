"""Lengths and directions of rows without overflow or underflow, and how far directions differ."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_agent.scoring.logits import Floats


def scaled(rows: Floats) -> tuple[Floats, Floats]:
    """(N, D) rows times a power of two each that brings them near 1, and the (N,) inverse of it.

    Exact: only the exponents change. A row of zeros stays as it is.
    """
    largest = np.abs(rows).max(axis=1, initial=0.0)
    exponent = np.clip(np.frexp(largest)[1], -1000, 1023)
    return rows * np.ldexp(1.0, -exponent)[:, None], np.ldexp(1.0, exponent)


def lengths(rows: Floats) -> Floats:
    """(N,) Euclidean lengths of (N, D) finite rows; beyond the largest float it is that float."""
    near_one, factor = scaled(rows)
    with np.errstate(over="ignore"):
        return finite(factor * np.sqrt(np.einsum("nd,nd->n", near_one, near_one)))


def directions(rows: Floats) -> Floats:
    """(N, D) rows at length 1; a row of zeros stays zero."""
    near_one, _ = scaled(rows)
    length = np.sqrt(np.einsum("nd,nd->n", near_one, near_one))
    length[length == 0.0] = 1.0
    return np.asarray(near_one / length[:, None])


def finite(values: Floats) -> Floats:
    """Values with infinities brought to the largest finite float."""
    limit = np.finfo(np.float64).max
    return np.asarray(np.clip(values, -limit, limit))


def between(one: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """(P,) distances between the directions of (P, D) finite rows, exact however small.

    Two rows brought to length 1 in float64 are each wrong by 1e-16, which is all of a distance of
    1e-16. This works with twice the digits: Dekker, "A Floating-Point Technique for Extending the
    Available Precision", 1971.
    """
    x, _ = scaled(np.asarray(one, dtype=np.float64))
    y, _ = scaled(np.asarray(other, dtype=np.float64))
    (long, long_rest), (other_long, other_rest) = _precise_lengths(x), _precise_lengths(y)
    left, left_rest = _product(x, other_long[:, None])
    right, right_rest = _product(y, long[:, None])
    rest = (left_rest - right_rest) + (x * other_rest[:, None] - y * long_rest[:, None])
    scale = long * other_long
    return lengths((left - right) + rest) / np.where(scale > 0.0, scale, 1.0)


def _precise_lengths(rows: Floats) -> tuple[Floats, Floats]:
    """(N,) lengths and what their rounding left out."""
    square, rest = _sum(*_product(rows, rows))
    length = np.sqrt(square)
    back, back_rest = _product(length, length)
    twice = np.where(length > 0.0, 2.0 * length, 1.0)
    return length, ((square - back) - back_rest + rest) / twice


def _product(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """The product and its rounding error, exactly; for numbers near 1."""
    product = one * other
    high, other_high = _high_half(one), _high_half(other)
    low, other_low = one - high, other - other_high
    error = ((high * other_high - product) + high * other_low + low * other_high) + low * other_low
    return product, error


def _high_half(values: Floats) -> Floats:
    large = values * 134217729.0  # 2^27 + 1 splits 53 bits in halves
    return large - (large - values)


def _sum(values: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """(N,) sums of (N, D) values with errors, and what their rounding left out."""
    left_out = errors.sum(axis=1)
    while values.shape[1] > 1:
        if values.shape[1] % 2:
            values = np.pad(values, ((0, 0), (0, 1)))
        one, other = values[:, ::2], values[:, 1::2]
        total = one + other
        shown = total - one
        left_out += ((one - (total - shown)) + (other - shown)).sum(axis=1)
        values = total
    return values[:, 0], left_out
