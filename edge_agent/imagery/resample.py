"""Area average: each output pixel is the mean of the ground it covers.

`source` pixels become `target` pixels along an axis. Every length is counted in units of
1/target of a source pixel, so all weights and sums are whole numbers: the mean is exact, and a
tile comes out the same however its frame was chunked. Plain additions are also several times
cheaper here than a matrix product, and leave the processor's threads to the model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_agent.imagery.source import Block

_UINT16_ROWS = 257
"""257 * 255 = 65 535."""

Sums = npt.NDArray[np.int64]


def rows_needed(first: int, last: int, source: int, target: int) -> tuple[int, int]:
    """Source rows [above, below) that output rows [first, last) cover, at least in part."""
    return first * source // target, -(-last * source // target)


def sum_down(block: Block, first: int, last: int, source: int, target: int) -> Sums:
    """Sums of `block` over the source rows of output rows [first, last).

    `block` holds the rows of `rows_needed`. The result is (output rows, planes, width), with
    three planes of colour and, unless all pixels are valid, one with the weight of valid ones.
    """
    above, _ = rows_needed(first, last, source, target)
    planes = 3 if block.valid is None else 4
    sums = np.empty((last - first, planes, block.pixels.shape[1]), np.int64)
    for row in range(first, last):
        low, cut_off = divmod(row * source, target)
        high, added = divmod((row + 1) * source, target)
        span = _Span(low - above, cut_off, high - above, added, target)
        sums[row - first, :3] = span.total(block.pixels).T
        if block.valid is not None:
            sums[row - first, 3] = span.total(block.valid.view(np.uint8))
    return sums


class _Span(NamedTuple):
    """Rows [low, high), less a part of the first and with a part of the one behind the last."""

    low: int
    cut_off: int
    high: int
    added: int
    unit: int

    def total(self, samples: npt.NDArray[np.uint8]) -> Sums:
        """Weighted sum over the rows of `samples`."""
        # Nearly all the time goes into this sum: the narrowest type that holds it is the fastest.
        kind = np.uint16 if self.high - self.low <= _UINT16_ROWS else np.uint32
        added_up = np.add.reduce(samples[self.low : self.high], axis=0, dtype=kind)
        out: Sums = np.multiply(added_up, self.unit, dtype=np.int64)
        if self.cut_off:
            out -= np.multiply(samples[self.low], self.cut_off, dtype=np.int64)
        if self.added:
            out += np.multiply(samples[self.high], self.added, dtype=np.int64)
        return out


def sum_across(sums: Sums, target: int) -> Sums:
    """The same along the last axis: (rows, planes, source) -> (rows, planes, target)."""
    source = sums.shape[-1]
    edges, parts = np.divmod(np.arange(target + 1, dtype=np.int64) * source, target)
    low, high = edges[:-1], edges[1:]
    out: Sums = np.add.reduceat(sums, low, axis=-1)
    out[..., low == high] = 0  # an output pixel within one source pixel: reduceat has no empty sum
    out *= target
    if parts.any():
        out -= parts[:-1] * sums[..., low]
        out += parts[1:] * sums[..., np.minimum(high, source - 1)]
    return out


def mean_pixels(sums: Sums, full: int) -> npt.NDArray[np.uint8]:
    """Means over the valid pixels, rounded half up: (rows, planes, columns) -> (rows, columns, 3).

    `full` is the weight of an output pixel all of whose ground is valid; one without any is 0.
    """
    weight = full if sums.shape[1] == 3 else np.maximum(sums[:, 3:], 1)
    means = (2 * sums[:, :3] + weight) // (2 * weight)
    return means.astype(np.uint8).transpose(0, 2, 1)
