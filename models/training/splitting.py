"""Splits by content: tiles that show the same ground stay on one side.

Three signs of the same ground: identical pixels, a small Hamming distance between difference
hashes, and a high phase-correlation peak (Kuglin & Hines 1975), which finds crops shifted against
each other that no hash sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.dataset import Labels, Pixels

_HASH_SIDE = 16
_PHASE_SIDE = 64


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of each part, ascending; together all rows, each once.

    aside: further held-out parts by name, which whoever asked for them measures.
    """

    train: NDArray[np.int64]
    calibration: NDArray[np.int64]
    test: NDArray[np.int64]
    aside: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def parts(self) -> dict[str, NDArray[np.int64]]:
        """Part name -> its rows."""
        own = {"train": self.train, "calibration": self.calibration, "test": self.test}
        return {**own, **self.aside}


def _grey(images: Pixels, width: int, height: int) -> NDArray[np.float32]:
    grey = [
        Image.fromarray(image).convert("L").resize((width, height), Image.Resampling.BOX)
        for image in images
    ]
    return np.stack([np.asarray(image, dtype=np.float32) for image in grey])


def difference_hashes(images: Pixels) -> NDArray[np.bool_]:
    """(N, 256) bits: whether each of 16 x 16 cells is brighter than its left neighbour."""
    grey = _grey(images, _HASH_SIDE + 1, _HASH_SIDE)
    return (grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(images), -1)


def alike_by_hash(images: Pixels, within: int) -> list[tuple[int, int]]:
    """Pairs whose difference hashes differ in at most `within` of 256 bits."""
    bits = difference_hashes(images).astype(np.int16)
    pairs = []
    for row in range(len(bits) - 1):
        distance = np.abs(bits[row + 1 :] - bits[row]).sum(axis=1)
        pairs += [(row, row + 1 + int(other)) for other in np.flatnonzero(distance <= within)]
    return pairs


def alike_by_shift(images: Pixels, peak: float) -> list[tuple[int, int]]:
    """Pairs whose phase correlation peaks at `peak` or more (1 = a pure cyclic shift)."""
    grey = _grey(images, _PHASE_SIDE, _PHASE_SIDE)
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    grey /= grey.std(axis=(1, 2), keepdims=True) + 1e-6
    window = np.hanning(_PHASE_SIDE) ** 0.25
    spectra = np.fft.rfft2(grey * window[:, None] * window[None, :])
    spectra = (spectra / (np.abs(spectra) + 1e-3)).astype(np.complex64)
    pairs = []
    for row in range(len(spectra) - 1):
        crossed = spectra[row] * np.conj(spectra[row + 1 :])
        surface = np.fft.irfft2(crossed, s=(_PHASE_SIDE, _PHASE_SIDE))
        peaks = surface.reshape(len(surface), -1).max(axis=1)
        pairs += [(row, row + 1 + int(other)) for other in np.flatnonzero(peaks >= peak)]
    return pairs


def group_by_content(
    images: Pixels, hash_within: int = 48, shift_peak: float = 0.25
) -> NDArray[np.int64]:
    """(N,) group numbers; alike tiles share one, also through a chain of alike tiles."""
    pairs = alike_by_hash(images, hash_within) + alike_by_shift(images, shift_peak)
    return join_pairs(len(images), pairs)


def join_pairs(count: int, pairs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """(count,) the smallest row that each row is connected to (union-find)."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return np.array([root(row) for row in range(count)], dtype=np.int64)


def split_by_group(
    labels: Labels,
    groups: NDArray[np.int64],
    seed: int,
    test_share: float = 0.20,
    calibration_share: float = 0.12,
) -> Split:
    """Deal whole groups to the parts, class by class, never past a part's share of the class.

    A group larger than what test and calibration still want goes to train. A group of several
    classes counts for the class of its first tile.
    """
    generator = np.random.default_rng(seed)
    part = np.zeros(len(labels), dtype=np.int64)
    firsts = {int(group): int(np.flatnonzero(groups == group)[0]) for group in np.unique(groups)}
    for label in np.unique(labels):
        own = np.array(sorted(g for g, first in firsts.items() if labels[first] == label))
        size = int((labels == label).sum())
        wants = {2: int(size * test_share), 1: int(size * calibration_share)}
        for group in generator.permutation(own):
            rows = np.flatnonzero(groups == group)
            for number in wants:
                if len(rows) <= wants[number]:
                    part[rows] = number
                    wants[number] -= len(rows)
                    break
    train, calibration, test = (np.flatnonzero(part == number) for number in (0, 1, 2))
    return Split(train, calibration, test)


def deal_groups(
    labels: Labels,
    groups: NDArray[np.int64] | NDArray[np.str_],
    share: float,
    seed: int,
    largest: float = 1.0,
    draws: int = 2000,
) -> NDArray[np.int64]:
    """Rows of whole groups, about `share` of all, labels in the proportions of all rows.

    Groups are drawn in random order until the share is reached, `draws` times; the draw that is
    off least, in size and in label proportions together, is taken. No group larger than the share
    `largest` of the part wanted is drawn, so that one group alone does not decide the part's
    figures.
    """
    generator = np.random.default_rng(seed)
    kinds, of_kind = np.unique(labels, return_inverse=True)
    names, of_group = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), len(kinds)))
    np.add.at(counts, (of_group, of_kind), 1.0)
    wanted = counts.sum(axis=0) * share
    eligible = np.flatnonzero(counts.sum(axis=1) <= largest * wanted.sum())
    best, chosen = np.inf, np.zeros(0, dtype=np.int64)
    for _ in range(draws):
        order = generator.permutation(eligible)
        sums = counts[order].cumsum(axis=0)
        misses = np.abs(sums - wanted).sum(axis=1)
        stop = int(np.searchsorted(sums.sum(axis=1), wanted.sum())) + 1
        at = min(stop, len(order)) - 1
        if at >= 0 and misses[at] < best:
            best, chosen = float(misses[at]), order[: at + 1]
    return np.flatnonzero(np.isin(of_group, chosen))
