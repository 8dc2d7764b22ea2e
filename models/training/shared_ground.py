"""Ground that two images have in common, to the pixel: crops cut from one raster.

Where crops overlap they hold the very same pixels, so a few equal windows give the one shift that
could fit, and comparing all of the overlap proves it. Hashes of whole images cannot see this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from training.dataset import Pixels

_WINDOW = 6
_MOST_OWNERS = 20  # a window that more images have is no trace of common ground


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two images (first < second) with common ground.

    pixels: how many they share; of_smaller: as a share of the smaller image; whole: both show
    exactly the same.
    """

    first: int
    second: int
    pixels: int
    of_smaller: float
    whole: bool


def shared_ground(images: Sequence[Pixels]) -> list[Overlap]:
    """All pairs of (H, W, 3) uint8 images with identical pixels wherever they overlap.

    Found are overlaps of at least 6 x 6 px that are not of one colour, whatever the shift; images
    that were scaled, turned or compressed anew after cutting are not found.
    """
    packed = [_packed(image) for image in images]
    found: dict[tuple[int, int], Overlap] = {}
    for first, second, down, right in _candidates(packed):
        overlap = _overlap(packed, first, second, down, right)
        if overlap is None:
            continue
        known = found.get((first, second))
        if known is None or known.pixels < overlap.pixels:
            found[first, second] = overlap
    return [found[pair] for pair in sorted(found)]


def _packed(image: Pixels) -> NDArray[np.uint64]:
    wide = image.astype(np.uint64)
    return (wide[..., 0] << np.uint64(16)) | (wide[..., 1] << np.uint64(8)) | wide[..., 2]


def _window_hashes(packed: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash and corner (row, column) of every window that is not of one colour."""
    factors = np.random.default_rng(0).integers(1, 2**63, (_WINDOW, _WINDOW), dtype=np.uint64)
    windows = sliding_window_view(packed, (_WINDOW, _WINDOW))
    hashes = np.zeros(windows.shape[:2], dtype=np.uint64)
    for row in range(_WINDOW):
        for column in range(_WINDOW):
            # Wraps around 2^64 on purpose: a multiply-add hash, proven by comparison later.
            hashes += windows[..., row, column] * (factors[row, column] | np.uint64(1))
    plain = windows.max(axis=(2, 3)) == windows.min(axis=(2, 3))
    return hashes[~plain], np.argwhere(~plain)


def _candidates(packed: Sequence[NDArray[np.uint64]]) -> set[tuple[int, int, int, int]]:
    """(first, second, down, right): shifts of the second image that one equal window suggests."""
    large = [number for number, image in enumerate(packed) if min(image.shape) >= _WINDOW]
    if not large:
        return set()
    parts = [_window_hashes(packed[number]) for number in large]
    hashes = np.concatenate([part[0] for part in parts])
    corners = np.concatenate([part[1] for part in parts])
    owners = np.repeat(large, [len(part[0]) for part in parts])
    order = np.argsort(hashes, kind="stable")
    hashes, corners, owners = hashes[order], corners[order], owners[order]
    bounds = np.flatnonzero(np.diff(hashes)) + 1
    starts, ends = np.append(0, bounds), np.append(bounds, len(hashes))
    several = (ends - starts > 1) & (ends - starts <= _MOST_OWNERS)
    found = set()
    for start, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True):
        for one in range(start, end - 1):
            for other in range(one + 1, end):
                if owners[one] != owners[other]:
                    down, right = (corners[one] - corners[other]).tolist()
                    found.add((int(owners[one]), int(owners[other]), down, right))
    return found


def _overlap(
    packed: Sequence[NDArray[np.uint64]], first: int, second: int, down: int, right: int
) -> Overlap | None:
    """The overlap when the second image's corner lies at (down, right) of the first, if it fits."""
    one, other = packed[first], packed[second]
    top, left = max(0, down), max(0, right)
    bottom = min(one.shape[0], down + other.shape[0])
    end = min(one.shape[1], right + other.shape[1])
    here = one[top:bottom, left:end]
    there = other[top - down : bottom - down, left - right : end - right]
    if not np.array_equal(here, there):
        return None
    smaller = min(one.size, other.size)
    whole = one.shape == other.shape and here.size == one.size
    return Overlap(first, second, here.size, here.size / smaller, whole)
