"""What each tile shows, told from the maps of the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.rehearsal.covers import LABELS, RARE, TILE_PX, Classes

RARE_SHARE = 0.25
"""A tile with at least this share of the rare class is of that class."""
NOVEL_SHARE = 0.20
"""A tile with at least this share of a novel thing is novel."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Of a grid of tiles, row by row; all arrays (tile rows, tile columns)."""

    label: npt.NDArray[np.int64]
    """Index into LABELS; -1 where the tile shows no ground."""
    share: npt.NDArray[np.float64]
    """Share of the class among the tile's valid pixels that are no novel thing."""
    novelty: npt.NDArray[np.int64]
    """0, or 1 + index of the novel kind."""
    novelty_share: npt.NDArray[np.float64]
    """Share of the tile that novel things cover, marked or not."""
    nodata_share: npt.NDArray[np.float64]


def _counts(values: Classes, kinds: int) -> npt.NDArray[np.int64]:
    """(rows, columns, kinds) pixels of each value in each tile."""
    rows, columns = values.shape[0] // TILE_PX, values.shape[1] // TILE_PX
    offset = (np.arange(columns) * kinds).repeat(TILE_PX)
    counted = np.empty((rows, columns, kinds), dtype=np.int64)
    for row in range(rows):
        strip = offset + values[row * TILE_PX : (row + 1) * TILE_PX]
        found = np.bincount(strip.ravel(), minlength=columns * kinds)
        counted[row] = found.reshape(columns, kinds)
    return counted


def label_tiles(
    classes: Classes,
    novelty: Classes,
    novel_kinds: int,
    valid: npt.NDArray[np.bool_] | None = None,
) -> Labels:
    """Labels of the tiles of (H, W) maps, both sides multiples of TILE_PX.

    The class is the one with the most pixels (the lower index on a tie) among those that are valid
    and no novel thing; but the rare class wins from RARE_SHARE on. The novel kind is the one with
    the most pixels, from NOVEL_SHARE of the tile on, counted together.
    """
    nothing = len(LABELS)
    hidden = novelty > 0
    if valid is not None:
        hidden = hidden | ~valid
        novelty = np.where(valid, novelty, 0).astype(np.uint8)
    seen = _counts(np.where(hidden, nothing, classes).astype(np.uint8), nothing + 1)[:, :, :-1]
    total = seen.sum(axis=2)
    shares = seen / np.maximum(total, 1)[:, :, None]
    label = np.where(shares[:, :, RARE] >= RARE_SHARE, RARE, seen.argmax(axis=2))
    things = _counts(novelty, novel_kinds + 1)[:, :, 1:]
    covered = things.sum(axis=2) / TILE_PX**2
    lost = np.zeros(covered.shape)
    if valid is not None:
        lost = 1 - _counts(valid.astype(np.uint8), 2)[:, :, 1] / TILE_PX**2
    return Labels(
        label=np.where(total > 0, label, -1),
        share=np.take_along_axis(shares, label[:, :, None], axis=2)[:, :, 0],
        novelty=np.where(covered >= NOVEL_SHARE, things.argmax(axis=2) + 1, 0),
        novelty_share=covered,
        nodata_share=lost,
    )
