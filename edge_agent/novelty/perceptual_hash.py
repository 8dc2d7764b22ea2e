"""64-bit pHash: the signs of a tile's lowest spatial frequencies.

Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010: luma at
32 x 32, two-dimensional DCT-II, the 8 x 8 lowest frequencies without the constant one, each
compared with their median. Survives re-encoding, exposure and a shift of a few per cent; not a
turn or a 12 % shift.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Pixels

SIDE: Final = 32
KEPT: Final = 8
HASH_BITS: Final = 64
MIN_TEXTURE: Final = 2.0
"""Standard deviation of the 32 x 32 luma, in grey levels, below which signs are noise: calm water
and bare sand would all look alike."""

_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def _dct_rows() -> npt.NDArray[np.float32]:
    """(KEPT + 1, SIDE): DCT-II basis of the frequencies 0 to KEPT."""
    frequency = np.arange(KEPT + 1)[:, None]
    place = np.arange(SIDE)[None, :]
    basis = np.cos(np.pi * frequency * (2 * place + 1) / (2 * SIDE))
    return np.asarray(basis, dtype=np.float32)


_BASIS: Final = _dct_rows()


def perceptual_hash(pixels: Pixels) -> int | None:
    """The 64-bit pHash of (H, W, 3) pixels, H and W at least 32; None with too little texture."""
    luma = _shrink(pixels)
    if float(luma.std()) < MIN_TEXTURE:
        return None
    spectrum = _BASIS @ luma @ _BASIS.T
    # Frequencies 1 to 8 both ways: rows and columns of the constant one carry the exposure.
    low = spectrum[1:, 1:].ravel()
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _shrink(pixels: Pixels) -> npt.NDArray[np.float32]:
    """(32, 32) luma means over blocks that differ by a pixel where 32 does not divide the side.

    Two products of matrices, an order faster than sums over slices.
    """
    height, width = pixels.shape[:2]
    samples = pixels.reshape(height, width * 3).astype(np.float32)
    return np.asarray(_means(height) @ (samples @ _luma_means(width)))


@lru_cache(maxsize=8)
def _means(side: int) -> npt.NDArray[np.float32]:
    """(32, side): row i takes the mean over the i-th of 32 blocks."""
    edges = np.linspace(0, side, SIDE + 1).astype(np.intp)
    means = np.zeros((SIDE, side), dtype=np.float32)
    for block, (start, end) in enumerate(pairwise(edges)):
        means[block, start:end] = 1.0 / (end - start)
    return means


@lru_cache(maxsize=8)
def _luma_means(side: int) -> npt.NDArray[np.float32]:
    """(3 side, 32): interleaved RGB to block means of the luma."""
    return np.ascontiguousarray(np.kron(_means(side), _LUMA).T)
