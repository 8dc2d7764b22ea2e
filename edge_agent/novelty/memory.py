"""What has been kept, as far back as memory is allowed to reach."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_agent.novelty.perceptual_hash import HASH_BITS

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
        self._taken = np.zeros(capacity, dtype=np.bool_)
        self._owners = [""] * capacity
        self._slots: dict[str, int] = {}
        self._contents: dict[str, bytes] = {}
        self._next = 0
        self._filled = 0

    def __len__(self) -> int:
        return len(self._by_content)

    def find(self, content_sha256: bytes, perceptual_hash: int | None) -> Duplicate | None:
        """The kept tile that this one repeats, nearest first, or None."""
        owner = self._by_content.get(content_sha256)
        if owner is not None:
            return Duplicate("content", owner, 0)
        if perceptual_hash is None or not self._slots or self._max_distance < 0:
            return None
        differing = np.bitwise_count(self._hashes[: self._filled] ^ np.uint64(perceptual_hash))
        distances = np.where(self._taken[: self._filled], differing, np.uint8(HASH_BITS + 1))
        nearest = int(distances.argmin())
        distance = int(distances[nearest])
        if distance > self._max_distance:
            return None
        return Duplicate("perceptual", self._owners[nearest], distance)

    def add(self, tile: str, content_sha256: bytes, perceptual_hash: int | None) -> None:
        """Remember a kept tile; the oldest is forgotten when memory is full."""
        self.forget(tile)
        twin = self._by_content.get(content_sha256)
        if twin is not None:
            del self._contents[twin]
        self._by_content[content_sha256] = tile
        self._contents[tile] = content_sha256
        if len(self._by_content) > self._capacity:
            self.forget(next(iter(self._by_content.values())))
        if perceptual_hash is None:
            return
        slot = self._next
        if self._taken[slot]:
            self._slots.pop(self._owners[slot], None)
        self._hashes[slot] = perceptual_hash
        self._owners[slot] = tile
        self._taken[slot] = True
        self._slots[tile] = slot
        self._next = (slot + 1) % self._capacity
        self._filled = max(self._filled, slot + 1)

    def forget(self, tile: str) -> None:
        """Take a tile back that was given up before it was sent: its like is welcome again."""
        content = self._contents.pop(tile, None)
        if content is not None and self._by_content.get(content) == tile:
            del self._by_content[content]
        slot = self._slots.pop(tile, None)
        if slot is not None:
            self._taken[slot] = False
            self._owners[slot] = ""
