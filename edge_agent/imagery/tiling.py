"""Where the tiles of a frame lie: numbers in, windows out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_agent.imagery.errors import FrameError

MIN_SIDE = 16
"""A frame with a shorter side shows nothing that a model could name."""
MAX_ENLARGEMENT = 2.0
"""Up to here a frame coarser than the bundle is enlarged; beyond, that would only invent pixels."""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a frame, in the frame's own pixels."""

    row: int
    column: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Axis:
    """Windows along one side of a frame; the last one shifts inwards, so nothing is dropped."""

    length: int
    window: int
    step: int

    @property
    def count(self) -> int:
        """At least 1."""
        return 1 + max(0, -((self.window - self.length) // self.step))

    def offset(self, index: int) -> int:
        """First pixel of window `index`."""
        return min(index * self.step, self.length - self.window)

    @property
    def plan(self) -> str:
        """All windows in a few numbers: equal texts, equal windows, and the other way round."""
        second = self.offset(1) if self.count > 1 else 0
        return f"{self.length}/{self.window}+{second}"


@dataclass(frozen=True, slots=True)
class Grid:
    """The windows of a frame, row by row, and the pixels that each of them becomes."""

    rows: Axis
    columns: Axis
    size: tuple[int, int]
    """Height and width in pixels of the model's input."""
    native: bool
    """Pixels go to the model as they are, padded where the frame is smaller than a tile."""
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.rows.count * self.columns.count

    @property
    def plan(self) -> str:
        """The windows and what they become: equal texts, equal tiles of the same frame."""
        height, width = self.size
        how = "as they are" if self.native else "averaged"
        return f"rows {self.rows.plan} columns {self.columns.plan} {how} to {height}x{width}"

    def window(self, index: int) -> Window:
        """Window of tile `index`."""
        row, column = divmod(index, self.columns.count)
        return Window(
            self.rows.offset(row),
            self.columns.offset(column),
            self.rows.window,
            self.columns.window,
        )


def plan_grid(
    shape: tuple[int, int],
    gsd_m: float | None,
    size: tuple[int, int],
    bundle_gsd_m: float,
    *,
    overlap: float = 0.0,
    resample: Literal["bundle-gsd", "native"] = "bundle-gsd",
) -> Grid:
    """Windows over a frame of `shape` (height, width) for a model input of `size`.

    Raises:
        FrameError: a side of the frame is shorter than `MIN_SIDE` (`too-small`).
    """
    if min(shape) < MIN_SIDE:
        raise FrameError(
            "too-small", f"{shape[1]} x {shape[0]} px: no side may be below {MIN_SIDE} px"
        )
    window = size
    notes: list[str] = []
    if resample == "bundle-gsd":
        window, notes = _window_at_gsd(shape, gsd_m, size, bundle_gsd_m)
    if window == size and (shape[0] < size[0] or shape[1] < size[1]):
        notes.append(f"smaller than a tile of {size[1]} x {size[0]} px: padded with nodata")
    rows, columns = (
        _axis(length, side, overlap) for length, side in zip(shape, window, strict=True)
    )
    return Grid(rows, columns, size, window == size, tuple(notes))


def _axis(length: int, window: int, overlap: float) -> Axis:
    step = max(1, round(window * (1.0 - overlap)))
    return Axis(length, min(window, length), step)


def _window_at_gsd(
    shape: tuple[int, int], gsd_m: float | None, size: tuple[int, int], bundle_gsd_m: float
) -> tuple[tuple[int, int], list[str]]:
    """The window that covers as much ground as the model saw in training, or `size` and why not."""
    if gsd_m is None:
        return size, ["ground sample distance unknown: native pixels"]
    scales = f"{gsd_m:.3g} m per pixel, the model's {bundle_gsd_m:.3g} m"
    if gsd_m > bundle_gsd_m * MAX_ENLARGEMENT:
        return size, [f"much coarser than the model expects ({scales}): native pixels"]
    window = (
        max(1, round(size[0] * bundle_gsd_m / gsd_m)),
        max(1, round(size[1] * bundle_gsd_m / gsd_m)),
    )
    if window[0] > shape[0] or window[1] > shape[1]:
        return size, [f"too small for one tile at the model's scale ({scales}): native pixels"]
    if window[0] < size[0]:
        return window, [f"coarser than the model expects ({scales}): enlarged"]
    return window, []
