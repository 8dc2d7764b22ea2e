"""Houses and barns: gable roofs with a ridge, courses of tiles, and the shadow they cast."""

from __future__ import annotations

import math

import numpy as np

from edge_agent.rehearsal.covers import PX
from edge_agent.rehearsal.landscape import Sun
from edge_agent.rehearsal.sprites import Stamp, cast, grid, make_stamp

_COLOURS = ((156.0, 84.0, 62.0), (134.0, 78.0, 64.0), (112.0, 116.0, 124.0), (170.0, 112.0, 82.0))


def house(rng: np.random.Generator, length: float, width: float, angle: float, sun: Sun) -> Stamp:
    """A gable roof of length x width pixels, its ridge turned by `angle` radians."""
    side = int(math.hypot(length, width) * 1.2 + 9 * PX) | 1
    rows, columns = grid(side)
    along = columns * np.float32(math.cos(angle)) + rows * np.float32(math.sin(angle))
    across = rows * np.float32(math.cos(angle)) - columns * np.float32(math.sin(angle))
    inside = np.minimum(length / 2 - np.abs(along), width / 2 - np.abs(across))
    alpha = np.clip(inside + 0.5, 0, 1).astype(np.float32)
    to_row, to_column = sun.towards
    facing = to_row * math.cos(angle) - to_column * math.sin(angle)
    slope = np.where(across > 0, facing, -facing) * 0.38
    light = (1 + slope).astype(np.float32)
    light += 0.05 * np.sin(across * np.float32(2 * math.pi / 3.6))
    light += 0.03 * np.sin(along * np.float32(2 * math.pi / 7.0))
    light += rng.standard_normal(light.shape, dtype=np.float32) * np.float32(0.04)
    light = np.where(np.abs(across) < 1.6, light * 1.22, light)
    light = np.where(inside < 1.8, light * 0.78, light)
    base = np.array(_COLOURS[int(rng.integers(len(_COLOURS)))], dtype=np.float32)
    colour = light[:, :, None] * base * np.float32(rng.uniform(0.88, 1.1))
    at = rng.uniform(-0.35, 0.35) * length, rng.choice((-1, 1)) * 0.16 * width
    chimney = np.maximum(np.abs(along - at[0]), np.abs(across - at[1])) < 0.45 * PX
    colour[chimney] = (92, 84, 80)
    return make_stamp(alpha, colour, cast(alpha, sun.shadow(rng.uniform(3.6, 5.5) * PX)))
