"""Where things lie: parcels of land, a river, roads, farms. All lengths in pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_agent.rehearsal import covers
from edge_agent.rehearsal.covers import PX, Classes, Plane

CELL = 8
"""Side in pixels of the coarse cells in which the landscape is laid out."""
_PARCEL_SIDE = 85 * PX
_SHARES = {
    covers.GRASS: 0.34,
    covers.SOIL: 0.20,
    covers.BROADLEAF: 0.16,
    covers.CONIFER: 0.13,
    covers.SHRUB: 0.12,
    covers.DEAD_TREE: 0.05,
}


@dataclass(frozen=True, slots=True)
class Sun:
    """Where the light comes from."""

    azimuth: float
    """Radians clockwise from north."""
    elevation: float
    """Radians above the horizon."""

    @property
    def towards(self) -> tuple[float, float]:
        """Unit step (rows, columns) towards the sun."""
        return -math.cos(self.azimuth), math.sin(self.azimuth)

    def shadow(self, height: float) -> tuple[float, float]:
        """Shift (rows, columns) of the shadow of a point at this height."""
        length = height / math.tan(self.elevation)
        return -self.towards[0] * length, -self.towards[1] * length


@dataclass(frozen=True, slots=True)
class Band:
    """A river or a road: all that lies within `half_width` of a winding line."""

    angle: float
    offset: float
    waves: tuple[tuple[float, float, float], ...]
    """Amplitude, length and phase of each."""
    half_width: float

    def coordinates(self, rows: Plane, columns: Plane) -> tuple[Plane, Plane]:
        """Along the line, and signed distance across it, of points (broadcast together)."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        along = columns * np.float32(cos) + rows * np.float32(sin)
        across = rows * np.float32(cos) - columns * np.float32(sin) - np.float32(self.offset)
        slope = np.zeros_like(along)
        for amplitude, length, phase in self.waves:
            turn = along / np.float32(length) + np.float32(phase)
            across -= np.float32(amplitude) * np.sin(turn)
            slope += np.float32(amplitude / length) * np.cos(turn)
        return along, across / np.sqrt(1 + slope * slope)

    def centre(self, along: float) -> tuple[float, float]:
        """Row and column of the line's point."""
        across = self.offset + sum(a * math.sin(along / n + p) for a, n, p in self.waves)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return along * sin + across * cos, along * cos - across * sin


@dataclass(frozen=True, slots=True)
class Farm:
    """A yard with houses around."""

    row: float
    column: float
    radius: float
    angle: float


@dataclass(frozen=True, slots=True)
class Landscape:
    """The lie of the land; the coarse maps have a cell per CELL pixels."""

    shape: tuple[int, int]
    """Height and width in pixels."""
    kind: Classes
    """Coarse: the class each parcel grows."""
    stands: Mapping[int, Image.Image]
    """Coarse, for each kind: 1 where it grows, 0 elsewhere, as float32 images."""
    border: Plane
    """Coarse: pixels to the parcel's border."""
    tone: Plane
    """Coarse: -1..1, how each parcel differs from others of its kind."""
    furrow: tuple[Plane, Plane]
    """Coarse: unit direction (rows, columns) across each parcel's rows."""
    rivers: tuple[Band, ...]
    roads: tuple[Band, ...]
    farms: tuple[Farm, ...]
    sun: Sun

    def at(self, row: float, column: float) -> tuple[int, int]:
        """Coarse cell of a point, the nearest within the ground."""
        height, width = self.kind.shape
        return (
            min(max(int(row / CELL), 0), height - 1),
            min(max(int(column / CELL), 0), width - 1),
        )


def plan_landscape(seed: int, shape: tuple[int, int]) -> Landscape:
    """Lay out ground of (height, width) pixels."""
    rng = np.random.default_rng([seed, 1])
    sun = Sun(math.radians(rng.uniform(110, 250)), math.radians(rng.uniform(42, 56)))
    nearest, border, count = _parcels(rng, shape)
    kinds = _deal_kinds(rng, np.bincount(nearest.ravel(), minlength=count))
    tones = rng.uniform(-1, 1, count).astype(np.float32)
    angles = rng.uniform(0, math.pi, count)
    extent = math.hypot(*shape)
    rivers = tuple(
        _band(rng, shape, part, 90.0, rng.uniform(9, 14) * PX)
        for part in _parts(rng, extent, 900 * PX)
    )
    roads = tuple(
        _band(rng, shape, part, 28.0, rng.uniform(3.2, 4.4) * PX)
        for part in _parts(rng, extent, 330 * PX)
    )
    return Landscape(
        shape=shape,
        kind=kinds[nearest],
        stands={
            kind: Image.fromarray((kinds[nearest] == kind).astype(np.float32)) for kind in _SHARES
        },
        border=border,
        tone=tones[nearest],
        furrow=(
            np.sin(angles).astype(np.float32)[nearest],
            np.cos(angles).astype(np.float32)[nearest],
        ),
        rivers=rivers,
        roads=roads,
        farms=_farms(rng, shape, roads, rivers),
        sun=sun,
    )


def _parcels(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], Plane, int]:
    """Nearest of jittered sites per coarse cell, distance to the border, number of sites."""
    height, width = (math.ceil(n / CELL) for n in shape)
    rows, columns = (math.ceil(n / _PARCEL_SIDE) + 1 for n in shape)
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
    sites = (grid + rng.uniform(-0.36, 0.36, grid.shape)).reshape(-1, 2) * _PARCEL_SIDE
    row = (np.arange(height, dtype=np.float32)[:, None] + 0.5) * CELL
    column = (np.arange(width, dtype=np.float32)[None, :] + 0.5) * CELL
    best = np.full((height, width), np.inf, dtype=np.float32)
    second = best.copy()
    nearest = np.zeros((height, width), dtype=np.intp)
    for number, (at_row, at_column) in enumerate(sites.astype(np.float32)):
        distance = np.hypot(row - at_row, column - at_column)
        closer = distance < best
        second = np.where(closer, best, np.minimum(second, distance))
        best = np.where(closer, distance, best)
        nearest[closer] = number
    return nearest, (second - best) / 2, len(sites)


def _deal_kinds(rng: np.random.Generator, areas: npt.NDArray[np.intp]) -> Classes:
    """A kind per parcel: in random order, each gets the kind furthest below its share."""
    names = np.array(list(_SHARES), dtype=np.uint8)
    shares = np.array(list(_SHARES.values()))
    kinds, dealt = np.zeros(len(areas), dtype=np.uint8), np.zeros(len(shares))
    for parcel in rng.permutation(len(areas)):
        # The first parcels that can be seen get one kind each, the commonest first.
        unseen = (dealt == 0) * 10.0
        wanted = shares * (dealt.sum() + areas[parcel]) - dealt + unseen * areas.sum() * shares
        choice = int(np.argmax(wanted))
        kinds[parcel] = names[choice]
        dealt[choice] += areas[parcel]
    return kinds


def _parts(rng: np.random.Generator, extent: float, spacing: float) -> list[float]:
    """Where, as shares of the way across the ground, bands about `spacing` apart run."""
    count = max(1, round(extent / spacing / 1.4))
    return [(part + rng.uniform(0.3, 0.7)) / count for part in range(count)]


def _band(
    rng: np.random.Generator, shape: tuple[int, int], part: float, swing_m: float, half: float
) -> Band:
    angle = rng.uniform(0, math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [r * cos - c * sin for r in (0, shape[0]) for c in (0, shape[1])]
    low, high = min(corners), max(corners)
    margin = 0.25 * (high - low)
    waves = tuple(
        (rng.uniform(0.3, 0.6) * swing_m * PX * share, length * PX, rng.uniform(0, 6.28))
        for share, length in ((0.7, 75.0), (0.18, 26.0))
    )
    if swing_m < 50:
        waves = waves[:1]
    return Band(angle, low + margin + part * (high - low - 2 * margin), waves, half)


def _farms(
    rng: np.random.Generator,
    shape: tuple[int, int],
    roads: tuple[Band, ...],
    rivers: tuple[Band, ...],
) -> tuple[Farm, ...]:
    """Farms beside the roads, clear of water and of each other."""
    farms: list[Farm] = []
    wanted = max(1, round(shape[0] * shape[1] / (170 * PX) ** 2))
    for _ in range(60 * wanted):
        road = roads[int(rng.integers(len(roads)))]
        radius = rng.uniform(17, 24) * PX
        row, column = road.centre(rng.uniform(-1, 1) * math.hypot(*shape))
        away = (road.half_width + radius + 2 * PX) * (1 if rng.random() < 0.5 else -1)
        row, column = row + away * math.cos(road.angle), column - away * math.sin(road.angle)
        point = np.array([row]), np.array([column])
        wet = any(abs(r.coordinates(*point)[1][0]) < r.half_width + radius for r in rivers)
        inside = all(
            radius * 0.7 < at < n - radius * 0.7 for at, n in zip((row, column), shape, strict=True)
        )
        apart = all(math.hypot(f.row - row, f.column - column) > 90 * PX for f in farms)
        if inside and apart and not wet:
            farms.append(Farm(row, column, radius, road.angle + rng.normal(0, 0.1)))
        if len(farms) == wanted:
            break
    return tuple(farms)
