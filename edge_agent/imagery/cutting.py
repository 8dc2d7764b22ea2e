"""Tiles from a source, row by row, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge_agent.domain import Pixels
from edge_agent.imagery.resample import mean_pixels, rows_needed, sum_across, sum_down
from edge_agent.imagery.source import Source
from edge_agent.imagery.tiling import Grid, Window

CHUNK_BYTES = 16 * 2**20
"""About what one read may take, beside the block cache and at least one row of pixels."""
_PLANES = 4
"""Of 64-bit sums: three colours and the weight of valid pixels."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One tile's pixels and where they come from."""

    window: Window
    pixels: Pixels
    nodata_share: float


def cut(source: Source, grid: Grid, start: int = 0) -> Iterator[Cut]:
    """Tiles `start` and later, in the grid's order; each comes out the same whatever `start`.

    Raises:
        FrameError: pixels cannot be read; tiles given before are good.
    """
    span = _tiles_at_once(source, grid)
    columns = grid.columns.count
    cut_row = _cut_native if grid.native else _cut_resampled
    for row in range(start // columns, grid.rows.count):
        for first in range(0, columns, span):
            last = min(first + span, columns)
            skipped = max(0, start - (row * columns + first))
            if skipped < last - first:
                yield from cut_row(source, grid, row, range(first + skipped, last))


def _tiles_at_once(source: Source, grid: Grid) -> int:
    """How many neighbours of a row may be read together."""
    if grid.native:
        bytes_per_column = grid.rows.window * source.bytes_per_pixel
    else:
        bytes_per_column = _bytes_per_output_row(source, grid)
    columns = CHUNK_BYTES // bytes_per_column
    return max(1, 1 + (columns - grid.columns.window) // grid.columns.step)


def _cut_native(source: Source, grid: Grid, row: int, columns: range) -> Iterator[Cut]:
    """The frame's own pixels; where the frame is smaller than a tile, the rest is nodata."""
    top, left, right = _extent(grid, row, columns)
    height, width = grid.rows.window, grid.columns.window
    block = source.read(Window(top, left, height, right - left))
    padded = (height, width) != grid.size
    for column in columns:
        offset = grid.columns.offset(column)
        here = slice(offset - left, offset - left + width)
        pixels: Pixels = np.ascontiguousarray(block.pixels[:, here])
        valid = height * width
        if block.valid is not None:
            valid = int(np.count_nonzero(block.valid[:, here]))
        if padded:
            whole = np.zeros((*grid.size, 3), np.uint8)
            whole[:height, :width] = pixels
            pixels = whole
        share = 1.0 - valid / (grid.size[0] * grid.size[1])
        yield Cut(Window(top, offset, height, width), pixels, share)


def _cut_resampled(source: Source, grid: Grid, row: int, columns: range) -> Iterator[Cut]:
    """Area averages: rows first, a few output rows at a time, then each tile's columns."""
    top, left, right = _extent(grid, row, columns)
    height, width = grid.size
    window_height, window_width = grid.rows.window, grid.columns.window
    full = window_height * window_width
    tiles = np.empty((len(columns), height, width, 3), np.uint8)
    valid = [0] * len(columns)
    offsets = [grid.columns.offset(column) for column in columns]
    for first, last in _row_groups(source, grid, right - left):
        above, below = rows_needed(first, last, window_height, height)
        block = source.read(Window(top + above, left, below - above, right - left))
        summed = sum_down(block, first, last, window_height, height)
        for index, offset in enumerate(offsets):
            here = offset - left
            sums = sum_across(summed[:, :, here : here + window_width], width)
            tiles[index, first:last] = mean_pixels(sums, full)
            all_valid = (last - first) * width * full
            valid[index] += all_valid if block.valid is None else int(sums[:, 3].sum())
    for index, offset in enumerate(offsets):
        share = 1.0 - valid[index] / (full * height * width)
        yield Cut(Window(top, offset, window_height, window_width), tiles[index], share)


def _row_groups(source: Source, grid: Grid, width: int) -> Iterator[tuple[int, int]]:
    """Output rows that may be made together."""
    group = max(1, CHUNK_BYTES // (width * _bytes_per_output_row(source, grid)))
    for first in range(0, grid.size[0], group):
        yield first, min(first + group, grid.size[0])


def _bytes_per_output_row(source: Source, grid: Grid) -> int:
    """What an output row takes while it is made, per column of the frame."""
    rows = -(-grid.rows.window // grid.size[0])
    return rows * source.bytes_per_pixel + _PLANES * 8


def _extent(grid: Grid, row: int, columns: range) -> tuple[int, int, int]:
    """Top, left and right edge of some neighbours of a row."""
    left = grid.columns.offset(columns[0])
    return grid.rows.offset(row), left, grid.columns.offset(columns[-1]) + grid.columns.window
