"""A small drawing board for made things: shapes in their own turned axes, lengths in metres."""

from __future__ import annotations

import math

import numpy as np

from edge_agent.rehearsal.covers import PX, Plane
from edge_agent.rehearsal.landscape import Sun
from edge_agent.rehearsal.sprites import Bools, Stamp, cast, grid, make_stamp

Colour = tuple[float, float, float]


class Sketch:
    """Shapes laid over each other; `along` and `across` are metres from the middle."""

    def __init__(self, reach: float, angle: float) -> None:
        """reach: metres from the middle to the board's edge. angle: radians."""
        self._side = int(2 * reach * PX) | 1
        rows, columns = grid(self._side)
        sin, cos = np.float32(math.sin(angle) / PX), np.float32(math.cos(angle) / PX)
        self.along: Plane = columns * cos + rows * sin
        self.across: Plane = rows * cos - columns * sin
        self._alpha = np.zeros((self._side, self._side), dtype=np.float32)
        self._colour = np.zeros((self._side, self._side, 3), dtype=np.float32)
        self._shade = np.zeros_like(self._alpha)
        self._angle = angle

    def fill(self, inside: Plane, colour: Colour, light: Plane | float = 1.0) -> Plane:
        """Paint where `inside` (metres to the shape's edge, positive within); returns its cover."""
        cover: Plane = np.clip(inside * np.float32(PX) + 0.5, 0, 1)
        shown = np.asarray(light, dtype=np.float32)
        for channel in range(3):
            plane = self._colour[:, :, channel]
            plane += cover * (np.float32(colour[channel]) * shown - plane)
        np.maximum(self._alpha, cover, out=self._alpha)
        return cover

    def raise_up(self, cover: Plane, height: float, sun: Sun) -> None:
        """Let a covered part cast its shadow from so many metres; on bare ground only."""
        np.maximum(self._shade, cast(cover, sun.shadow(height * PX)), out=self._shade)

    def facing(self, sun: Sun) -> tuple[float, float]:
        """How far the directions along and across point towards the sun, -1..1."""
        to_row, to_column = sun.towards
        sin, cos = math.sin(self._angle), math.cos(self._angle)
        return to_column * cos + to_row * sin, to_row * cos - to_column * sin

    def box(self, along: float, across: float, length: float, width: float) -> Plane:
        """Metres to the edge of a rectangle about a point."""
        ends = np.float32(length / 2) - np.abs(self.along - np.float32(along))
        sides = np.float32(width / 2) - np.abs(self.across - np.float32(across))
        return np.asarray(np.minimum(ends, sides))

    def disc(self, along: float, across: float, radius: float) -> Plane:
        """Metres to the edge of a disc."""
        right, down = self.along - np.float32(along), self.across - np.float32(across)
        return np.asarray(np.float32(radius) - np.hypot(right, down))

    def oval(self, along: float, across: float, turn: float, length: float, width: float) -> Plane:
        """About the metres to the edge of a turned ellipse."""
        sin, cos = math.sin(turn), math.cos(turn)
        right, down = self.along - np.float32(along), self.across - np.float32(across)
        one, other = right * cos + down * sin, down * cos - right * sin
        far = np.hypot(one * np.float32(2 / length), other * np.float32(2 / width))
        return np.asarray((1 - far) * np.float32(width / 2))

    def stamp(self, rng: np.random.Generator, mask: Bools | None = None) -> Stamp:
        """The finished thing, with a little grain."""
        grain = rng.standard_normal((*self._alpha.shape, 1), dtype=np.float32) * 4
        return make_stamp(self._alpha, self._colour + grain, self._shade, mask)
