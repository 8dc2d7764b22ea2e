"""Tiles to try a model on: drawn at random, and cut from images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.authoring.errors import AuthoringError
from edge_agent.imagery.frames import FrameError, FrameFile, TilePlan, find_frame_files, open_frame
from edge_agent.imagery.settings import ImagerySettings
from operations.errors import Problem

Tiles = npt.NDArray[np.uint8]
MOST_IMAGES: Final = 64


@dataclass(frozen=True, slots=True)
class ImageTiles:
    """The middle tile of each of some images."""

    tiles: Tiles
    """(N, H, W, 3)"""
    gsd_m: float | None
    """Median of the images' metres per pixel; None where none of them says."""
    unread: tuple[str, ...]


def random_tiles(size: tuple[int, int], seed: int = 0) -> Tiles:
    """(12, H, W, 3) uint8: plain greys, noise, coarse blocks and slopes of colour."""
    height, width = size
    rng = np.random.default_rng(seed)
    greys = [np.full((height, width, 3), grey) for grey in (0, 128, 255)]
    noise = [rng.integers(0, 256, (height, width, 3)) for _ in range(3)]
    return np.stack([*greys, *noise, *_blocks(size, rng), *_slopes(size, rng)]).astype(np.uint8)


def _blocks(size: tuple[int, int], rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    rows, columns = (np.arange(side) * 4 // side for side in size)
    for _ in range(3):
        yield rng.integers(0, 256, (4, 4, 3))[rows][:, columns]


def _slopes(size: tuple[int, int], rng: np.random.Generator) -> Iterator[npt.NDArray[np.float64]]:
    down, right = (np.linspace(0.0, 1.0, side) for side in size)
    for _ in range(3):
        low, by_row, by_column = rng.uniform(0, 85, (3, 3))
        yield low + down[:, None, None] * by_row + right[None, :, None] * by_column


def image_tiles(folder: Path, size: tuple[int, int], gsd_m: float | None) -> ImageTiles:
    """Tiles of at most 64 images below `folder`, evenly chosen.

    Raises:
        AuthoringError: no image there can be read.
    """
    files = list(find_frame_files(folder))
    count = min(len(files), MOST_IMAGES)
    chosen = [files[number * len(files) // count] for number in range(count)]
    resample = ImagerySettings() if gsd_m is not None else ImagerySettings(resample="native")
    plan = TilePlan(size, gsd_m or 1.0, resample)
    tiles, scales, unread = [], [], []
    for file in chosen:
        try:
            tile, scale = _middle_tile(file, plan)
        except FrameError as error:
            unread.append(f"{file.name}: {error}")
            continue
        tiles.append(tile)
        if scale is not None:
            scales.append(scale)
    if not tiles:
        problems = [Problem(line) for line in unread[:8]]
        hint = "give a folder with GeoTIFF, JPEG, PNG or WebP files, or leave --images out"
        raise AuthoringError(
            f"{folder}: no image to try the model on",
            problems or [Problem("it holds no images", hint)],
        )
    return ImageTiles(np.stack(tiles), median(scales) if scales else None, tuple(unread))


def _middle_tile(file: FrameFile, plan: TilePlan) -> tuple[Tiles, float | None]:
    with open_frame(file, plan) as opened:
        tile = next(iter(opened.tiles(opened.tile_count // 2)))
        return tile.pixels, opened.frame.gsd_m
