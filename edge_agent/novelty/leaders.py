"""Likeness by embedding: how far is a tile from everything that was kept?

Leader clustering (Hartigan, "Clustering Algorithms", 1975, chapter 3): a tile farther than
epsilon from every kept tile is something new, and once kept it stands for all that is like it.
Distances are to kept tiles only. Comparing with any earlier tile, kept or not, collapses chains:
on overlapping views each is like the one before, until most have no kept neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.floating]
Distances: TypeAlias = npt.NDArray[np.float32]

CAPACITY: Final = 4096
MEMORY_BYTES: Final = 16 * 2**20
"""Embeddings of more than 1024 numbers: so many fewer leaders."""
_CHUNK: Final = 256
_SAME: Final = 1e-6
"""Two embeddings so near show the same picture: more than float32 rounds a product by."""


def leaders_for(dimension: int) -> int:
    """How many leaders of that many numbers are remembered."""
    return max(min(CAPACITY, MEMORY_BYTES // (4 * max(dimension, 1))), 1)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near a tile of a foreign survey is to what was kept of it."""

    distance: float | None
    """Cosine distance to the nearest kept tile; None where there is no embedding to tell by."""
    epsilon: float
    """Up to this, two tiles are alike."""


class Leaders:
    """Embeddings of the last `capacity` kept tiles, on the unit sphere.

    When it is full, the oldest goes: it is the farthest behind, and the like of what was just
    seen is what comes next. So memory is the same wherever a survey is taken up again.
    """

    def __init__(self, dimension: int, capacity: int = CAPACITY) -> None:
        self._vectors = np.zeros((capacity, dimension), dtype=np.float32)
        self._taken = np.zeros(capacity, dtype=np.bool_)
        self._owners = [""] * capacity
        self._slots: dict[str, int] = {}
        """Address -> slot, the oldest first."""
        self._free = list(range(capacity - 1, -1, -1))
        self._filled = 0

    def __len__(self) -> int:
        return len(self._slots)

    def distance_to_nearest(self, embeddings: Vectors) -> Distances:
        """(N,) cosine distance of (N, D) embeddings to the nearest leader.

        In [0, 2]; 2 where there is no leader, and where an embedding has no direction (all zeros)
        or is not finite: such a tile is like no other.
        """
        wanted, whole = unit_rows(embeddings)
        nearest = np.full(len(wanted), 2.0, dtype=np.float32)
        if self._slots and len(wanted):
            likeness = wanted @ self._vectors[: self._filled].T
            if len(self._slots) < self._filled:
                likeness[:, ~self._taken[: self._filled]] = -1.0
            nearest[whole] = np.clip(1.0 - likeness.max(axis=1), 0.0, 2.0)[whole]
        return nearest

    def add(self, tile: str, embedding: Vectors) -> None:
        """Remember the (D,) embedding of a kept tile; one without direction is passed over."""
        self.forget(tile)
        rows, whole = unit_rows(embedding[np.newaxis])
        if not whole[0]:
            return
        if not self._free:
            self.forget(next(iter(self._slots)))
        slot = self._free.pop()
        self._vectors[slot] = rows[0]
        self._taken[slot] = True
        self._owners[slot] = tile
        self._slots[tile] = slot
        self._filled = max(self._filled, slot + 1)

    def forget(self, tile: str) -> None:
        """Take a tile back that was given up before it was sent: its like is welcome again."""
        slot = self._slots.pop(tile, None)
        if slot is not None:
            self._taken[slot] = False
            self._owners[slot] = ""
            self._free.append(slot)


def cosine_distances(embeddings: Vectors, other: Vectors) -> Distances:
    """(N,) cosine distances of (N, D) embeddings to one of (D,); 2 where one has no direction."""
    rows, whole = unit_rows(embeddings)
    target, usable = unit_rows(other[np.newaxis])
    distances: Distances = np.clip(1.0 - rows @ target[0], 0.0, 2.0)
    distances[~(whole & usable[0])] = 2.0
    return distances


def calibrated_epsilon(features: Vectors) -> float:
    """How far apart two tiles of familiar ground are: the epsilon for this bundle.

    The median, over (n, D) embeddings of familiar tiles, of the cosine distance to the nearest
    other one. Nearer than that, two tiles show as much the same as the typical familiar tile and
    its twin in the calibration. More calibration tiles lie closer together and make it smaller;
    a picture that stands there twice does not. 0.0 where fewer than two embeddings differ.
    """
    rows, whole = unit_rows(features)
    known = rows[whole]
    if len(known) < 2:
        return 0.0
    nearest = np.empty(len(known), dtype=np.float32)
    for start in range(0, len(known), _CHUNK):
        likeness = known[start : start + _CHUNK] @ known.T
        itself = np.arange(len(likeness))
        likeness[itself, start + itself] = -np.inf
        likeness[likeness > 1.0 - _SAME] = -np.inf
        nearest[start : start + _CHUNK] = 1.0 - likeness.max(axis=1)
    near = nearest[np.isfinite(nearest)]
    return float(np.clip(np.median(near), 0.0, 2.0)) if len(near) else 0.0


def unit_rows(embeddings: Vectors) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """(N, D) rows scaled to length 1, and which of them have a direction; others are zeros."""
    rows = np.asarray(embeddings, dtype=np.float32)
    whole: npt.NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    kept = np.where(whole[:, np.newaxis], rows, np.float32(0.0))
    largest = np.abs(kept).max(axis=1, initial=0.0)
    whole &= largest > 0.0
    # By the largest number first: squares of huge and of tiny ones are no float32.
    largest[~whole] = 1.0
    scaled = kept / largest[:, np.newaxis]
    lengths = np.sqrt(np.square(scaled).sum(axis=1))
    lengths[~whole] = 1.0
    return (scaled / lengths[:, np.newaxis]).astype(np.float32), whole
