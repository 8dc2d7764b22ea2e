"""Where trees and shrubs stand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_agent.rehearsal import covers
from edge_agent.rehearsal.covers import PX, Classes, Plane
from edge_agent.rehearsal.landscape import CELL, Landscape
from edge_agent.rehearsal.plants import nursery
from edge_agent.rehearsal.sprites import press

_SPACING = {
    covers.BROADLEAF: 4.6,
    covers.CONIFER: 3.6,
    covers.DEAD_TREE: 5.0,
    covers.SHRUB: 3.2,
}
"""Metres between neighbours of a stand."""
_HEDGE = 2.4 * PX
_BARE = (covers.WATER, covers.ROAD)

Points = npt.NDArray[np.float64]


def plant(seed: int, landscape: Landscape, pixels: npt.NDArray[np.uint8], classes: Classes) -> None:
    """Stamp all plants onto the ground, the small before the large."""
    rng = np.random.default_rng([seed, 4])
    stamps = nursery(seed, landscape.sun)
    places: list[tuple[float, int, int, int, int]] = []
    for kind, spacing in _SPACING.items():
        points = _stand(rng, landscape, kind, spacing * PX)
        extra = _scattered(rng, landscape, kind)
        looks = len(stamps[kind])
        for row, column in np.concatenate([points, extra]).astype(int).tolist():
            if _free(classes, row, column):
                look = int(rng.integers(looks))
                places.append((look + 100.0 * (kind != covers.SHRUB), kind, look, row, column))
    places.sort(key=lambda place: place[0])
    for _, kind, look, row, column in places:
        tint: Plane = (rng.normal(1, 0.03, 3) * rng.normal(1, 0.07)).astype(np.float32)
        press(pixels, classes, kind, stamps[kind][look], (row, column), tint)


def _free(classes: Classes, row: int, column: int) -> bool:
    """Not in water, on a road, nor right beside them."""
    reach = int(1.6 * PX)
    height, width = classes.shape
    for down, right in ((0, 0), (reach, 0), (-reach, 0), (0, reach), (0, -reach)):
        at = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
        if classes[at] in _BARE:
            return False
    return True


def _jittered(rng: np.random.Generator, shape: tuple[int, int], spacing: float) -> Points:
    """(N, 2) points on a shaken grid that reaches a little beyond the ground."""
    rows, columns = (int(n / spacing) + 2 for n in shape)
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
    shaken = (grid + rng.uniform(-0.34, 0.34, grid.shape)) * spacing
    points: Points = shaken.reshape(-1, 2)
    return points


def _cells(landscape: Landscape, points: Points) -> tuple[npt.NDArray[np.intp], ...]:
    """Coarse cells (rows, columns) of points."""
    limits = np.array(landscape.kind.shape) - 1
    cells = np.clip((points / CELL).astype(np.intp), 0, limits)
    return cells[:, 0], cells[:, 1]


def _clear_of_farms(landscape: Landscape, points: Points) -> npt.NDArray[np.bool_]:
    clear = np.ones(len(points), dtype=np.bool_)
    for farm in landscape.farms:
        away = np.hypot(points[:, 0] - farm.row, points[:, 1] - farm.column)
        clear &= away > farm.radius * 1.12
    return clear


def _stand(rng: np.random.Generator, landscape: Landscape, kind: int, spacing: float) -> Points:
    """Points all over the parcels of a kind."""
    points = _jittered(rng, landscape.shape, spacing)
    chosen = landscape.kind[_cells(landscape, points)] == kind
    return np.asarray(points[chosen & _clear_of_farms(landscape, points)])


def _scattered(rng: np.random.Generator, landscape: Landscape, kind: int) -> Points:
    """Hedges along some borders of open land, and a lone tree here and there."""
    open_land = (covers.GRASS, covers.SOIL)
    if kind == covers.SHRUB:
        points = _jittered(rng, landscape.shape, 2.2 * PX)
        cells = _cells(landscape, points)
        chosen = (landscape.border[cells] < _HEDGE) & (landscape.tone[cells] > 0.1)
    elif kind == covers.BROADLEAF:
        points = _jittered(rng, landscape.shape, 24 * PX)
        cells = _cells(landscape, points)
        chosen = rng.random(len(points)) < 0.2
    else:
        return np.empty((0, 2))
    chosen &= np.isin(landscape.kind[cells], open_land)
    return points[chosen & _clear_of_farms(landscape, points)]
