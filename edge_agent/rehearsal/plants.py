"""Trees and shrubs seen from above, several looks of each."""

from __future__ import annotations

import math

import numpy as np

from edge_agent.rehearsal import covers
from edge_agent.rehearsal.covers import Plane
from edge_agent.rehearsal.landscape import Sun
from edge_agent.rehearsal.sprites import Bools, Stamp, cast, grid, lit, make_stamp, soften


def _paint(base: tuple[float, float, float], light: Plane, grain: Plane) -> Plane:
    """Colour of foliage: bright parts turn yellower, dark ones bluer."""
    out = np.empty((*light.shape, 3), dtype=np.float32)
    for channel, warmth in enumerate((1.12, 1.0, 0.8)):
        out[:, :, channel] = base[channel] * light ** np.float32(warmth) + grain
    return out


def _lobes(
    rng: np.random.Generator, side: int, count: int, reach: float, size: tuple[float, float]
) -> Plane:
    """Height of a heap of balls within `reach` pixels of the middle; 0 where there is none."""
    rows, columns = grid(side)
    top = np.zeros((side, side), dtype=np.float32)
    for _ in range(count):
        turn, away = rng.uniform(0, 2 * math.pi), reach * math.sqrt(rng.uniform())
        radius = rng.uniform(*size)
        far = (rows - away * math.sin(turn)) ** 2 + (columns - away * math.cos(turn)) ** 2
        dome = np.sqrt(np.maximum(radius * radius - far, 0))
        dome += (dome > 0) * np.float32(0.9 * (reach - away))
        np.maximum(top, dome, out=top)
    return top


def _finish(
    rng: np.random.Generator,
    shape: Plane | Bools,
    light: Plane,
    base: tuple[float, float, float],
    shift: tuple[float, float],
    mask: Bools | None = None,
) -> Stamp:
    alpha = soften(shape.astype(np.float32))
    grain = rng.standard_normal(alpha.shape, dtype=np.float32)
    leaves = soften(rng.standard_normal(alpha.shape, dtype=np.float32))
    light = np.maximum(light * (1 + 0.34 * leaves), 0.05)
    colour = _paint(base, light, grain * 7)
    return make_stamp(alpha, colour, cast(alpha, shift), mask)


def broadleaf(rng: np.random.Generator, radius: float, sun: Sun) -> Stamp:
    """A round, lumpy crown."""
    side = int(radius * 4.6) | 1
    top = _lobes(rng, side, 60, radius * 0.78, (radius * 0.10, radius * 0.27))
    light = lit(soften(top), sun, 0.8) * (0.72 + 0.5 * top / top.max())
    base = (
        (84.0, 108.0, 54.0),
        (70.0, 96.0, 50.0),
        (102.0, 116.0, 60.0),
    )[int(rng.integers(3))]
    return _finish(rng, top > 0, light, base, sun.shadow(radius * 1.15))


def conifer(rng: np.random.Generator, radius: float, sun: Sun) -> Stamp:
    """A dark star: a cone with branches standing out from its tip."""
    side = int(radius * 5.6) | 1
    rows, columns = grid(side)
    far, turn = np.hypot(rows, columns), np.arctan2(rows, columns)
    arms = int(rng.integers(13, 20))
    spikes = np.abs(np.cos(turn * (arms / 2) + rng.uniform(0, 6))) ** 1.6
    uneven = 0.07 * np.sin(turn * 3 + rng.uniform(0, 6))
    edge = radius * (0.74 + 0.26 * spikes + uneven)
    cone = np.maximum(1 - far / edge, 0)
    light = lit((cone * radius * 1.7).astype(np.float32), sun, 0.75)
    light *= (0.66 + 0.22 * spikes + 0.42 * cone).astype(np.float32)
    base = ((54.0, 78.0, 60.0), (48.0, 68.0, 48.0))[int(rng.integers(2))]
    return _finish(rng, np.clip((edge - far) / 1.2, 0, 1), light, base, sun.shadow(radius * 1.9))


def dead_tree(rng: np.random.Generator, radius: float, sun: Sun) -> Stamp:
    """Bare, grey boughs; the disc between them counts as the tree."""
    side = int(radius * 4.4) | 1
    rows, columns = grid(side)
    boughs = np.maximum(1.6 - np.hypot(rows, columns) * 0.4, 0)
    for _ in range(int(rng.integers(9, 14))):
        turn, reach = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.65, 1.0)
        for fork in (-0.28, 0.0, 0.3):
            begin = 0.0 if fork == 0 else 0.45 * reach
            sin, cos = math.sin(turn + fork), math.cos(turn + fork)
            at_row, at_column = begin * math.sin(turn), begin * math.cos(turn)
            along = (rows - at_row) * sin + (columns - at_column) * cos
            aside = np.abs((rows - at_row) * cos - (columns - at_column) * sin)
            length = reach - begin if fork == 0 else 0.5 * reach
            bough = np.clip(1.5 - along / length * 0.7 - aside, 0, 1)
            np.maximum(boughs, bough * ((along > 0) & (along < length)), out=boughs)
    alpha = np.clip(boughs, 0, 1).astype(np.float32)
    light = lit(soften(alpha) * 3, sun, 0.8)
    base = ((196.0, 188.0, 176.0), (176.0, 164.0, 150.0))[int(rng.integers(2))]
    disc = np.hypot(rows, columns) < radius * 0.9
    return _finish(rng, alpha, light, base, sun.shadow(radius * 0.9), disc)


def shrubs(rng: np.random.Generator, radius: float, sun: Sun) -> Stamp:
    """A clump of low, round bushes."""
    side = int(radius * 2.9) | 1
    count = int(rng.integers(7, 12))
    top = _lobes(rng, side, count, radius * 0.8, (radius * 0.16, radius * 0.36))
    light = lit(soften(top), sun, 0.9) * np.float32(rng.uniform(0.85, 1.1))
    base = ((104.0, 110.0, 62.0), (86.0, 100.0, 60.0), (124.0, 112.0, 74.0))[int(rng.integers(3))]
    return _finish(rng, top > 0, light, base, sun.shadow(radius * 0.42))


LOOKS = {
    covers.BROADLEAF: (broadleaf, (2.4, 4.4)),
    covers.CONIFER: (conifer, (1.7, 2.9)),
    covers.DEAD_TREE: (dead_tree, (2.0, 3.2)),
    covers.SHRUB: (shrubs, (1.5, 2.8)),
}
"""Class -> how it is drawn, and its smallest and largest radius in metres."""


def nursery(seed: int, sun: Sun, looks: int = 18) -> dict[int, list[Stamp]]:
    """Class -> stamps from the smallest to the largest."""
    stamps = {}
    for kind, (draw, (small, large)) in LOOKS.items():
        rng = np.random.default_rng([seed, 3, kind])
        radii = np.linspace(small, large, looks) * covers.PX
        stamps[kind] = [draw(rng, float(radius), sun) for radius in radii]
    return stamps
