"""Area average: each output pixel is the mean of the ground it covers.

All sums are of whole numbers that the float type holds exactly, so the result does not depend
on the order in which a BLAS adds, and a tile comes out the same however its frame was chunked.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_agent.imagery.source import Block

Weights = npt.NDArray[np.float64]
Sums = npt.NDArray[np.float64]

_FLOAT32_EXACT = 2**24


@lru_cache(maxsize=4)
def area_weights(source: int, target: int) -> Weights:
    """(target, source): overlap of each output pixel with each source pixel.

    In units of 1/target of a source pixel, so whole numbers; each row sums to `source`.
    """
    edges = np.arange(source + 1, dtype=np.int64) * target
    low = np.arange(target, dtype=np.int64)[:, None] * source
    overlap = np.minimum(edges[1:], low + source) - np.maximum(edges[:-1], low)
    weights: Weights = np.maximum(overlap, 0).astype(np.float64)
    weights.setflags(write=False)
    return weights


def sum_down(block: Block, weights: Weights) -> Sums:
    """Weighted sums over the rows of `block`: (output rows, 4, width), or 3 if all are valid.

    The fourth plane holds the weight of the valid pixels. `weights` is (output rows, rows).
    """
    height, width, _ = block.pixels.shape
    exact = np.float32 if 255 * weights.sum(axis=1).max() < _FLOAT32_EXACT else np.float64
    planes = np.empty((height, 3 if block.valid is None else 4, width), exact)
    planes[:, :3] = block.pixels.transpose(0, 2, 1)
    if block.valid is not None:
        planes[:, 3] = block.valid
    summed: Sums = (weights.astype(exact) @ planes.reshape(height, -1)).astype(np.float64)
    return summed.reshape(len(weights), -1, width)


def sum_across(sums: Sums, weights: Weights) -> Sums:
    """Weighted sums over the columns: (rows, planes, width) -> (rows, planes, output columns)."""
    rows, planes, width = sums.shape
    return (sums.reshape(-1, width) @ weights.T).reshape(rows, planes, -1)


def mean_pixels(sums: Sums, full: int) -> npt.NDArray[np.uint8]:
    """Means over the valid pixels, rounded half up: (rows, planes, columns) -> (rows, columns, 3).

    `full` is the weight of an output pixel all of whose ground is valid; one without any is 0.
    """
    weight = full if sums.shape[1] == 3 else np.maximum(sums[:, 3:], 1.0)
    means = sums[:, :3] / weight
    return np.floor(means + 0.5).astype(np.uint8).transpose(0, 2, 1)
