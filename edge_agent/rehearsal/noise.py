"""Value noise that can be asked for any window, always with the same answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from edge_agent.rehearsal.covers import Plane

_PAD = 3  # grid cells beyond each edge, for the bicubic kernel


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of ground in pixels."""

    row: int
    column: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """For indexing the first two axes of an array."""
        return (
            slice(self.row, self.row + self.height),
            slice(self.column, self.column + self.width),
        )


def enlarge(
    image: Image.Image, window: Window, cell: tuple[float, float], pad: float = 0.0
) -> Plane:
    """The part of a coarse map under `window`, interpolated to its pixels (bicubic).

    image: float32 (mode F). cell: height and width of one of its cells in pixels. pad: its cells
    before the ground's first.
    """
    top, left = window.row / cell[0] + pad, window.column / cell[1] + pad
    box = (left, top, left + window.width / cell[1], top + window.height / cell[0])
    size = (window.width, window.height)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box), dtype=np.float32)


class NoiseGrid:
    """Smooth noise of about unit spread with features of `cell` pixels (height, width)."""

    def __init__(
        self, rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float]
    ) -> None:
        rows, columns = (math.ceil(n / c) + 2 * _PAD for n, c in zip(shape, cell, strict=True))
        # Interpolation smooths: 1.4 brings the spread back to about 1.
        cells: Plane = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(1.4)
        self._grid = Image.fromarray(cells)
        self._cell = cell

    def block(self, window: Window) -> Plane:
        """(height, width) of the window."""
        return enlarge(self._grid, window, self._cell, _PAD)


OCTAVES = (2.0, 5.0, 12.0, 32.0, 96.0, 300.0)
"""Cell sides in pixels: from blades of grass to stains as wide as a field."""


class Texture:
    """All noise that surfaces are drawn from."""

    def __init__(self, seed: int, shape: tuple[int, int]) -> None:
        rng = np.random.default_rng([seed, 11])
        self._seed = seed
        self._grids = {cell: NoiseGrid(rng, shape, (cell, cell)) for cell in OCTAVES}
        self._ripples = NoiseGrid(rng, shape, (3.0, 13.0))

    def block(self, window: Window) -> Mapping[float, Plane]:
        """Cell side -> noise; 1.0 is grain, new in each pixel. Ask for one fixed set of windows."""
        rng = np.random.default_rng([self._seed, 12, window.row, window.column])
        grain = rng.standard_normal((window.height, window.width), dtype=np.float32)
        return {1.0: grain} | {cell: grid.block(window) for cell, grid in self._grids.items()}

    def ripples(self, window: Window) -> Plane:
        """Noise drawn out from west to east, as wind draws water."""
        return self._ripples.block(window)
