"""Tiles that show the same: equal pixels, or perceptual hashes that hardly differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Groups = npt.NDArray[np.int64]

NEAR_BITS: Final = 8
"""Differing bits of two 64-bit hashes that still count as the same content. Chains join, so it is
stricter than the filter's own limit for a single pair."""


def content_groups(
    digests: Sequence[bytes], hashes: Sequence[int | None], within: int = NEAR_BITS
) -> Groups:
    """(N,) the first tile that each tile shows the same as, also through others in between.

    `digests` are of the pixels; a hash of None is a tile with too little texture to have one.
    """
    parent = list(range(len(digests)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for first, second in (*_equal(digests), *_alike(hashes, within)):
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return np.array([root(row) for row in range(len(parent))], dtype=np.int64)


def _equal(digests: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    first: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        if first.setdefault(digest, row) != row:
            yield first[digest], row


def _alike(hashes: Sequence[int | None], within: int) -> Iterator[tuple[int, int]]:
    rows = np.array([row for row, bits in enumerate(hashes) if bits is not None], dtype=np.int64)
    bits = np.array([bits for bits in hashes if bits is not None], dtype=np.uint64)
    for place in range(len(rows) - 1):
        distance = np.bitwise_count(bits[place + 1 :] ^ bits[place])
        for other in np.flatnonzero(distance <= within):
            yield int(rows[place]), int(rows[place + 1 + other])
