"""Stamps: small pictures of things seen from above, lit and with their shadow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.rehearsal.covers import Classes, Plane
from edge_agent.rehearsal.landscape import Sun

Bools = npt.NDArray[np.bool_]
_SHADE = 0.52  # share of the light that a cast shadow takes


@dataclass(frozen=True, slots=True)
class Stamp:
    """ground = ground * keep + paint * tint; arrays (height, width[, 3])."""

    keep: Plane
    paint: Plane
    mask: Bools
    """The thing itself, without its shadow."""
    anchor: tuple[int, int]
    """Row and column in the arrays of the point that is put in place."""


def make_stamp(alpha: Plane, colour: Plane, shade: Plane, mask: Bools | None = None) -> Stamp:
    """alpha (H, W) of the thing, its colour (H, W, 3), shade (H, W) of its shadow, all but the
    colour 0..1. mask: what counts as the thing, where that is more than alpha shows.
    """
    keep = (1 - _SHADE * shade) * (1 - alpha)
    thing = alpha > 0.5 if mask is None else mask
    touched = (keep < 0.995) | thing
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Stamp(
        np.ascontiguousarray(keep[part], dtype=np.float32)[:, :, None],
        (np.clip(colour[part], 0, 255) * alpha[part][:, :, None]).astype(np.float32),
        np.ascontiguousarray(thing[part]),
        (alpha.shape[0] // 2 - int(rows[0]), alpha.shape[1] // 2 - int(columns[0])),
    )


def press(
    pixels: npt.NDArray[np.uint8],
    maps: Classes,
    value: int,
    stamp: Stamp,
    at: tuple[int, int],
    tint: Plane | None = None,
    only: int | None = None,
) -> None:
    """Put the stamp at (row, column) and `value` on the map where the thing is.

    tint: (3,) factors near 1. only: leave ground alone that the map gives another value. A stamp
    may lie beyond the edge, in part or in whole.
    """
    height, width = stamp.mask.shape
    top, left = at[0] - stamp.anchor[0], at[1] - stamp.anchor[1]
    rows = slice(max(top, 0), min(top + height, pixels.shape[0]))
    columns = slice(max(left, 0), min(left + width, pixels.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    region = pixels[rows, columns] * stamp.keep[part]
    region += stamp.paint[part] if tint is None else stamp.paint[part] * tint
    np.minimum(region, 255, out=region)
    thing = stamp.mask[part]
    if only is None:
        pixels[rows, columns] = region
    else:
        open_to_it = maps[rows, columns] == only
        pixels[rows, columns][open_to_it] = region[open_to_it]
        thing = thing & open_to_it
    maps[rows, columns][thing] = value


def grid(side: int) -> tuple[Plane, Plane]:
    """Rows (side, 1) and columns (1, side) counted from the middle."""
    line = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    return line[:, None], line[None, :]


def cast(solid: Plane, shift: tuple[float, float]) -> Plane:
    """The shadow of a solid whose top is shifted so far (rows, columns): its sweep."""
    steps = max(2, int(np.hypot(*shift) / 2.5))
    height, width = solid.shape
    out = np.zeros_like(solid)
    for step in range(steps + 1):
        down, right = (round(part * step / steps) for part in shift)
        to = slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0))
        of = (
            slice(max(-down, 0), height + min(-down, 0)),
            slice(max(-right, 0), width + min(-right, 0)),
        )
        np.maximum(out[to], solid[of], out=out[to])
    return soften(out)


def soften(plane: Plane) -> Plane:
    """A 3 x 3 mean; the border stays as it is."""
    out = plane.copy()
    rows = plane[:-2] + plane[1:-1] + plane[2:]
    out[1:-1, 1:-1] = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return out


def lit(surface: Plane, sun: Sun, relief: float) -> Plane:
    """Brightness about 1 of a height field (pixels): lit on the sun's side."""
    down, right = np.gradient(surface)
    to_row, to_column = sun.towards
    facing = -(down * np.float32(to_row) + right * np.float32(to_column)) * np.float32(relief)
    return np.asarray(1 + facing / np.sqrt(1 + facing * facing) * 0.55, dtype=np.float32)
