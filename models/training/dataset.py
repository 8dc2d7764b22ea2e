"""Labelled tiles in memory, and how they are read from a folder of classes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Tiles:
    """N labelled tiles of one size.

    images: (N, H, W, 3) uint8 RGB. labels: (N,) index into label_names. groups: (N,) tiles of one
    group show the same ground and are never parted by a split. names: N names, for split.csv.
    """

    images: Pixels
    labels: Labels
    label_names: tuple[str, ...]
    groups: NDArray[np.int64]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.ndim != 4 or self.images.shape[3] != 3 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be (N, H, W, 3) uint8, not {self.images.shape}")
        if not len(self.labels) == len(self.groups) == len(self.names) == count:
            raise ValueError("images, labels, groups and names must have one length")
        if count and not 0 <= self.labels.min() <= self.labels.max() < len(self.label_names):
            raise ValueError(f"labels must lie in 0..{len(self.label_names) - 1}")

    def take(self, rows: NDArray[np.int64]) -> Tiles:
        """The tiles of these rows, in this order."""
        names = tuple(self.names[row] for row in rows)
        return Tiles(
            self.images[rows], self.labels[rows], self.label_names, self.groups[rows], names
        )


def class_folders(data: Path) -> tuple[str, ...]:
    """Names of the class folders under data, sorted.

    Raises FileNotFoundError when data is no folder or has no class folders.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"{data} is not a folder")
    names = tuple(sorted(path.name for path in data.iterdir() if path.is_dir()))
    if not names:
        raise FileNotFoundError(f"{data} has no class folders")
    return names


def list_images(data: Path, classes: Collection[str]) -> list[str]:
    """Image names relative to data ("class/file"), sorted by class and name."""
    return [
        f"{name}/{path.name}"
        for name in sorted(classes)
        for path in sorted((data / name).iterdir())
        if path.suffix.lower() in _SUFFIXES
    ]


def read_image(path: Path, side: int) -> Pixels:
    """(side, side, 3) uint8 RGB; an image of another size is resampled to it."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def read_images(data: Path, names: Collection[str], side: int) -> Pixels:
    """(N, side, side, 3) uint8 RGB of the named images, in order."""
    return np.stack([read_image(data / name, side) for name in names])


def shrink(images: Pixels, side: int) -> Pixels:
    """Area-averaged to (N, side, side, 3) uint8, as a decimated `average` read of a raster does."""
    if images.shape[1:3] == (side, side):
        return images
    box = Image.Resampling.BOX
    resized = [Image.fromarray(image).resize((side, side), box) for image in images]
    return np.stack([np.asarray(image, dtype=np.uint8) for image in resized])
