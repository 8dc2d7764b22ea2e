"""64-bit pHash: the signs of a tile's lowest spatial frequencies.

Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010: luma at
32 x 32, two-dimensional DCT-II, the 8 x 8 lowest frequencies without the constant one, each
compared with their median. Survives re-encoding, exposure and a shift of a few per cent; not a
turn or a 12 % shift.
"""

from __future__ import annotations

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
    luma = _shrink(pixels) @ _LUMA
    if float(luma.std()) < MIN_TEXTURE:
        return None
    spectrum = _BASIS @ luma @ _BASIS.T
    # Frequencies 1 to 8 both ways: rows and columns of the constant one carry the exposure.
    low = spectrum[1:, 1:].ravel()
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _shrink(pixels: Pixels) -> npt.NDArray[np.float32]:
    """(32, 32, 3) block means; the blocks differ by a pixel where the side is no multiple of 32."""
    height, width = pixels.shape[:2]
    rows = np.linspace(0, height, SIDE + 1).astype(np.intp)
    columns = np.linspace(0, width, SIDE + 1).astype(np.intp)
    sums = np.add.reduceat(pixels, rows[:-1], axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, columns[:-1], axis=1)
    area = np.diff(rows)[:, None, None] * np.diff(columns)[None, :, None]
    return np.asarray(sums / area, dtype=np.float32)
