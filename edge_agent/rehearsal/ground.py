"""The whole ground of a survey: pixels, classes and what is new on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.rehearsal import covers, surfaces
from edge_agent.rehearsal.buildings import house
from edge_agent.rehearsal.covers import PX, Classes, Plane
from edge_agent.rehearsal.landscape import CELL, Farm, Landscape
from edge_agent.rehearsal.noise import Texture, Window, enlarge
from edge_agent.rehearsal.planting import plant
from edge_agent.rehearsal.sprites import press

_BLOCK = 256
_BANK = 2.2 * PX

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Ground:
    """What lies below a survey; rows run south, columns east."""

    pixels: npt.NDArray[np.uint8]
    """(H, W, 3) RGB."""
    classes: Classes
    """(H, W) index into LABELS."""
    novelty: Classes
    """(H, W) 0, or 1 + index into the novel kinds."""


def render_familiar(seed: int, landscape: Landscape, progress: Progress) -> Ground:
    """The ground of a landscape, without the rare and the novel.

    Both sides of the landscape are multiples of 128 pixels. progress: told the share done, 0..1.
    """
    shape = landscape.shape
    palette, texture = surfaces.draw_palette(seed), Texture(seed, shape)
    pixels = np.empty((*shape, 3), dtype=np.uint8)
    classes = np.empty(shape, dtype=np.uint8)
    blocks = list(_blocks(shape))
    for number, window in enumerate(blocks):
        planes, kinds = _Block(landscape, palette, texture, window).render()
        np.clip(planes, 0, 255, out=planes)
        pixels[window.slices] = planes.transpose(1, 2, 0)
        classes[window.slices] = kinds
        progress(0.8 * (number + 1) / len(blocks))
    plant(seed, landscape, pixels, classes)
    _build(seed, landscape, pixels, classes)
    progress(1.0)
    return Ground(pixels, classes, np.zeros(shape, dtype=np.uint8))


def _blocks(shape: tuple[int, int]) -> Iterator[Window]:
    for row in range(0, shape[0], _BLOCK):
        for column in range(0, shape[1], _BLOCK):
            height, width = min(_BLOCK, shape[0] - row), min(_BLOCK, shape[1] - column)
            yield Window(row, column, height, width)


class _Block:
    """One window of bare ground in the making."""

    def __init__(
        self, landscape: Landscape, palette: surfaces.Palette, texture: Texture, window: Window
    ) -> None:
        self._land, self._palette, self._window = landscape, palette, window
        self._texture = texture
        self._noise = texture.block(window)
        self._rows = np.arange(window.height, dtype=np.float32)[:, None] + window.row
        self._columns = np.arange(window.width, dtype=np.float32)[None, :] + window.column

    def render(self) -> tuple[Plane, Classes]:
        """Colour planes (3, height, width) and classes (height, width)."""
        self._planes, self._classes = self._fields()
        for farm in self._land.farms:
            self._yard(farm)
        for river in self._land.rivers:
            along, across = river.coordinates(self._rows, self._columns)
            if np.abs(across).min() < river.half_width + 3 * _BANK:
                self._river(np.abs(across), river.half_width)
        for track in self._land.roads:
            along, across = track.coordinates(self._rows, self._columns)
            if np.abs(across).min() < track.half_width + PX:
                self._road(along, across, track.half_width)
        return self._planes, self._classes

    def _coarse(self, grid: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The window's part of a coarse map."""
        w = self._window
        return grid[
            w.row // CELL : (w.row + w.height) // CELL,
            w.column // CELL : (w.column + w.width) // CELL,
        ]

    def _spread(self, grid: Plane) -> Plane:
        """A coarse map at full size, each cell as a square."""
        part = self._coarse(grid)
        return np.asarray(part.repeat(CELL, axis=0).repeat(CELL, axis=1), dtype=np.float32)

    def _fields(self) -> tuple[Plane, Classes]:
        noise, window = self._noise, self._window
        rough = 0.13 * noise[12.0] + 0.1 * noise[5.0] + 0.09 * noise[32.0]
        present = [int(kind) for kind in np.unique(self._coarse(self._land.kind))]
        # A kind that only touches the block's edge still bleeds in by less than a cell.
        scores = [
            enlarge(self._land.stands[kind], window, (CELL, CELL))
            + (rough if number % 2 else -rough)
            for number, kind in enumerate(present)
        ]
        if len(present) == 1:
            planes = self._surface(present[0])
            return planes, np.full(rough.shape, present[0], dtype=np.uint8)
        best, second = scores[0], np.full_like(rough, -np.inf)
        classes = np.full(rough.shape, present[0], dtype=np.uint8)
        for score, kind in zip(scores[1:], present[1:], strict=True):
            classes[score > best] = kind
            second = np.maximum(second, np.minimum(best, score))
            best = np.maximum(best, score)
        planes = np.zeros((3, *rough.shape), dtype=np.float32)
        total = np.zeros(rough.shape, dtype=np.float32)
        for score, kind in zip(scores, present, strict=True):
            weight = np.clip((score - np.where(score == best, second, best)) * 3 + 0.5, 0, 1)
            planes += weight * self._surface(kind)
            total += weight
        return planes / total, classes

    def _surface(self, kind: int) -> Plane:
        palette, noise = self._palette, self._noise
        if kind in (covers.GRASS, covers.SOIL):
            tone = self._spread(self._land.tone)
            down, right = (self._spread(part) for part in self._land.furrow)
            phase = self._rows * down + self._columns * right
            draw = surfaces.grass if kind == covers.GRASS else surfaces.soil
            return draw(palette, noise, tone, phase)
        colour = {
            covers.SHRUB: palette.heath,
            covers.BROADLEAF: palette.leaf_litter,
            covers.CONIFER: palette.needles,
            covers.DEAD_TREE: palette.dead_floor,
        }[kind]
        return surfaces.floor(palette, colour, noise)

    def _lay(self, alpha: Plane, planes: Plane, kind: int) -> None:
        self._planes += alpha * (planes - self._planes)
        self._classes[alpha > 0.5] = kind

    def _yard(self, farm: Farm) -> None:
        rows, columns = self._rows - farm.row, self._columns - farm.column
        if max(np.abs(rows).min(), np.abs(columns).min()) > farm.radius * 1.7:
            return
        far = np.hypot(rows, columns)
        edge = farm.radius * (1 + 0.1 * self._noise[32.0] + 0.05 * self._noise[96.0])
        alpha = np.clip((edge - far) / 8, 0, 1)
        self._lay(alpha, surfaces.sand(self._palette, self._noise), covers.SOIL)

    def _river(self, away: Plane, half: float) -> None:
        rough = 4 * self._noise[32.0] + 1.5 * self._noise[12.0] + 6 * self._noise[96.0]
        bank = np.clip((half + _BANK - away + 2 * rough) / 10, 0, 1)
        self._lay(bank, surfaces.sand(self._palette, self._noise), covers.SOIL)
        inside = half - away + rough
        depth = np.clip(inside / (0.6 * half), 0, 1)
        ripples = self._texture.ripples(self._window)
        wet = surfaces.water(self._palette, self._noise, ripples, depth)
        self._lay(np.clip(inside / 4, 0, 1), wet, covers.WATER)

    def _road(self, along: Plane, across: Plane, half: float) -> None:
        away = np.abs(across)
        dry = self._classes != covers.WATER  # a bridge has no verge
        verge = dry * np.clip((half + 0.9 * PX - away + 2 * self._noise[12.0]) / 5, 0, 1)
        self._lay(0.6 * verge, surfaces.sand(self._palette, self._noise), covers.SOIL)
        drawn = surfaces.road(self._palette, self._noise, along, across, half)
        self._lay(np.clip(half - away + 0.5, 0, 1), drawn, covers.ROAD)


def _build(
    seed: int, landscape: Landscape, pixels: npt.NDArray[np.uint8], classes: Classes
) -> None:
    """Houses and barns of each farm, around its yard."""
    rng = np.random.default_rng([seed, 5])
    for farm in landscape.farms:
        first = rng.uniform(0, 2 * math.pi)
        count = int(rng.integers(3, 5))
        for number in range(count):
            turn = first + number * 2 * math.pi / count
            away = farm.radius * rng.uniform(0.6, 0.72)
            at = farm.row + away * math.sin(turn), farm.column + away * math.cos(turn)
            size = rng.uniform(14, 24) * PX, rng.uniform(9.5, 13) * PX
            angle = farm.angle + (math.pi / 2 if number % 2 else 0) + rng.normal(0, 0.04)
            stamp = house(rng, *size, angle, landscape.sun)
            press(pixels, classes, covers.ROOF, stamp, (int(at[0]), int(at[1])))
