"""What has been kept, as far back as memory is allowed to reach."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import numpy as np

DuplicateKind = Literal["content", "perceptual"]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A kept tile that shows the same: byte for byte, or within `distance` bits of its pHash."""

    kind: DuplicateKind
    of: str
    distance: int


class KeptTiles:
    """Content and perceptual hashes of the last `capacity` kept tiles.

    Compared with kept tiles only: comparing with any earlier tile collapses chains of overlapping
    views until none is left with a kept neighbour.
    """

    def __init__(self, capacity: int, max_distance: int) -> None:
        """Two pHashes within `max_distance` bits are alike; -1 compares content only."""
        self._capacity = capacity
        self._max_distance = max_distance
        self._by_content: OrderedDict[bytes, str] = OrderedDict()
        self._hashes = np.zeros(capacity, dtype=np.uint64)
        self._owners: list[str] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._by_content)

    def find(self, content_sha256: bytes, perceptual_hash: int | None) -> Duplicate | None:
        """The kept tile that this one repeats, nearest first, or None."""
        owner = self._by_content.get(content_sha256)
        if owner is not None:
            return Duplicate("content", owner, 0)
        if perceptual_hash is None or not self._owners or self._max_distance < 0:
            return None
        filled = self._hashes[: len(self._owners)]
        distances = np.bitwise_count(filled ^ np.uint64(perceptual_hash))
        nearest = int(distances.argmin())
        distance = int(distances[nearest])
        if distance > self._max_distance:
            return None
        return Duplicate("perceptual", self._owners[nearest], distance)

    def add(self, tile: str, content_sha256: bytes, perceptual_hash: int | None) -> None:
        """Remember a kept tile; the oldest is forgotten when memory is full."""
        self._by_content[content_sha256] = tile
        if len(self._by_content) > self._capacity:
            self._by_content.popitem(last=False)
        if perceptual_hash is None:
            return
        if len(self._owners) < self._capacity:
            self._owners.append(tile)
        else:
            self._owners[self._next] = tile
        self._hashes[self._next] = perceptual_hash
        self._next = (self._next + 1) % self._capacity
