"""Things that the rehearsal bundle has never seen. The model's training never draws from here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from edge_agent.rehearsal import covers
from edge_agent.rehearsal.landscape import Sun
from edge_agent.rehearsal.sketch import Colour, Sketch
from edge_agent.rehearsal.sprites import Stamp

_WHITE: Final[Colour] = (232.0, 232.0, 228.0)


def _pick(rng: np.random.Generator, *colours: Colour) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def boat(rng: np.random.Generator, sun: Sun) -> Stamp:
    """A beached boat with a cabin."""
    length, width = rng.uniform(12, 15), rng.uniform(3.8, 4.8)
    board = Sketch(12, rng.uniform(0, 2 * math.pi))
    towards_bow = np.clip((board.along / length + 0.1) / 0.6, 0, 1) ** 2
    half = np.float32(width / 2) * (1 - towards_bow)
    hull = np.minimum(half - np.abs(board.across), length / 2 - np.abs(board.along))
    paint = _pick(rng, (36, 76, 148), (170, 40, 36), (236, 236, 232), (24, 96, 90))
    board.raise_up(board.fill(hull, paint), 1.6, sun)
    board.fill(hull - 0.35, (196, 158, 108), 1 + 0.06 * np.sin(board.across * 22))
    board.fill(board.box(-0.2 * length, 0, 3.4, width * 0.55), _WHITE)
    board.fill(board.box(-0.2 * length + 1.3, 0, 0.5, width * 0.5), (40, 50, 60))
    board.fill(board.box(0.14 * length, 0, 2.2, 1.5), (96, 66, 44))
    return board.stamp(rng)


def solar_array(rng: np.random.Generator, sun: Sun) -> Stamp:
    """Rows of panels on the ground."""
    rows, length = int(rng.integers(3, 6)), rng.uniform(12, 18)
    board = Sketch(14, rng.uniform(0, 2 * math.pi))
    pitch = 3.5
    for row in range(rows):
        middle = (row - (rows - 1) / 2) * pitch
        panel = board.box(0, middle, length, 2.3)
        lines = np.minimum(
            np.abs(np.mod(board.along, 1.1) - 0.55), np.abs(np.mod(board.across - middle, 1.15))
        )
        glare = 1 + 0.25 * np.sin(board.along * 0.3 + row)
        cover = board.fill(panel, (30, 42, 88), glare)
        board.fill(np.minimum(panel, 0.07 - lines), (150, 160, 180))
        board.raise_up(cover, 1.3, sun)
    hull = board.box(0, 0, length, rows * pitch) > 0
    return board.stamp(rng, hull)


def tents(rng: np.random.Generator, sun: Sun) -> Stamp:
    """A camp of ridge tents."""
    board = Sketch(14, rng.uniform(0, 2 * math.pi))
    near = np.zeros(board.along.shape, dtype=np.bool_)
    _, sunny = board.facing(sun)
    for number in range(int(rng.integers(6, 10))):
        turn, away = number * 2.4, 2.9 * math.sqrt(number) + rng.uniform(0, 0.4)
        along, across = away * math.cos(turn), away * math.sin(turn)
        length, width = rng.uniform(3.2, 4.2), rng.uniform(2.4, 3.0)
        fly = _pick(rng, (240, 122, 28), (48, 96, 190), (236, 208, 60), (206, 48, 52))
        side = np.where(board.across > across, sunny, -sunny) * 0.35
        cover = board.fill(board.box(along, across, length, width), fly, 1 + side)
        board.raise_up(cover, 1.6, sun)
        near |= board.disc(along, across, 2.6) > 0
    return board.stamp(rng, near)


def herd(rng: np.random.Generator, sun: Sun) -> Stamp:
    """Cattle standing together."""
    board = Sketch(12, rng.uniform(0, 2 * math.pi))
    near = np.zeros(board.along.shape, dtype=np.bool_)
    for number in range(int(rng.integers(15, 24))):
        turn, away = number * 2.4 + rng.normal(0, 0.3), 1.5 * math.sqrt(number)
        along, across = away * math.cos(turn), away * math.sin(turn)
        heading, coat = rng.normal(0.3, 0.5), _pick(rng, (38, 32, 30), (226, 220, 208))
        body = board.fill(board.oval(along, across, heading, 2.5, 1.1), coat)
        head = along + 1.45 * math.cos(heading), across + 1.45 * math.sin(heading)
        board.fill(board.oval(*head, heading, 0.9, 0.5), coat)
        board.fill(board.oval(along - 0.3, across, heading, 0.9, 0.6), (228, 224, 214))
        board.raise_up(body, 1.3, sun)
        near |= board.disc(along, across, 1.7) > 0
    return board.stamp(rng, near)


def aircraft(rng: np.random.Generator, sun: Sun) -> Stamp:
    """A light aircraft come down: one wing off, scorched ground."""
    board = Sketch(13, rng.uniform(0, 2 * math.pi))
    wobble = 0.9 * np.sin(3 * np.arctan2(board.across, board.along) + rng.uniform(0, 6))
    scorched = board.disc(1, 0.5, 6.5) + wobble
    board.fill(scorched, (44, 38, 34), 1 + 0.2 * np.sin(board.along * 3) * np.sin(board.across * 4))
    body = np.minimum(0.8 - 0.05 * np.maximum(-board.along, 0) - np.abs(board.across),
                      6 - np.abs(board.along))  # fmt: skip
    stripe = _pick(rng, (196, 36, 40), (32, 70, 160), (228, 150, 30))
    parts = (
        board.box(1.4, -3.6, 1.9, 6.4),
        board.oval(0.2, 4.4, rng.uniform(0.5, 1.1), 1.9, 6.0),
        board.box(-5.2, 0, 1.1, 4.6),
        body,
    )
    for part in parts:
        board.raise_up(board.fill(part, _WHITE), 1.2, sun)
    board.fill(np.minimum(body, 0.22 - np.abs(board.across)), stripe)
    board.fill(board.box(1.4, -6.2, 1.9, 1.0), stripe)
    board.fill(board.box(2.2, 0, 1.2, 1.0), (40, 54, 70))
    return board.stamp(rng, np.maximum.reduce((scorched, *parts)) > 0)


def turbine(rng: np.random.Generator, sun: Sun) -> Stamp:
    """A wind turbine on its pad: nacelle and edge-on rotor above, the tower's shadow below."""
    board = Sketch(26, rng.uniform(0, 2 * math.pi))
    pad = board.fill(board.disc(0, 0, 7.5), (186, 182, 172))
    board.fill(board.box(0, 9, 9, 12), (168, 160, 144))
    board.fill(board.disc(0, 0, 2.6), (210, 208, 200))
    tower = board.disc(0, 0, 1.5)
    board.raise_up(np.clip(tower * 10, 0, 1), 20, sun)
    board.fill(board.box(-0.5, 0, 7.5, 2.6), _WHITE)
    board.fill(board.box(3.6, 0, 1.3, 2.0), (214, 214, 214))
    blades = board.box(3.9, 0, 0.8, 34) - 0.012 * np.abs(board.across)
    board.fill(blades, (240, 240, 238))
    return board.stamp(rng, (pad > 0.5) | (board.box(0, 9, 9, 12) > 0) | (blades > 0))


def containers(rng: np.random.Generator, sun: Sun) -> Stamp:
    """Shipping containers set down side by side."""
    count = int(rng.integers(3, 6))
    board = Sketch(13, rng.uniform(0, 2 * math.pi))
    for number in range(count):
        across = (number - (count - 1) / 2) * 3.0
        along = rng.normal(0, 0.7)
        box = board.box(along, across, 12.2, 2.44)
        paint = _pick(rng, (176, 52, 36), (30, 92, 160), (28, 128, 84), (222, 156, 34))
        ribs = 1 + 0.13 * np.sin(board.along * np.float32(2 * math.pi / 0.7))
        board.raise_up(board.fill(box, paint, ribs), 2.6, sun)
        board.fill(np.minimum(box, 0.15 - box), paint, 0.6)
    return board.stamp(rng)


def pool(rng: np.random.Generator, sun: Sun) -> Stamp:
    """A swimming pool with a paved rim and parasols."""
    board = Sketch(12, rng.uniform(0, 2 * math.pi))
    length, width = rng.uniform(9.5, 12.5), rng.uniform(5, 6.5)
    joints = np.minimum(np.mod(board.along, 0.9), np.mod(board.across, 0.9)) < 0.1
    paved = 1 - 0.13 * joints
    board.fill(board.box(0, 0, length + 4, width + 4), (214, 204, 186), paved)
    board.fill(board.box(0, 0, length, width), (240, 240, 236))
    ripple = np.sin(board.along * 4 + 1.5 * np.sin(board.across * 3)) * np.sin(board.across * 5)
    board.fill(board.box(0, 0, length - 0.5, width - 0.5), (62, 184, 206), 1 + 0.07 * ripple)
    for along in (-0.3 * length, 0.25 * length):
        shade = board.disc(along, width / 2 + 1.1, 1.2)
        board.raise_up(board.fill(shade, _pick(rng, (224, 60, 56), (242, 238, 226))), 2.2, sun)
    return board.stamp(rng)


_OPEN = (covers.GRASS, covers.SOIL)

NOVEL: Final[Mapping[str, tuple[Callable[[np.random.Generator, Sun], Stamp], tuple[int, ...]]]] = (
    MappingProxyType(
        {
            "boat": (boat, _OPEN),
            "solar-array": (solar_array, _OPEN),
            "tents": (tents, _OPEN),
            "herd": (herd, (covers.GRASS,)),
            "aircraft": (aircraft, (*_OPEN, covers.SHRUB)),
            "turbine": (turbine, _OPEN),
            "containers": (containers, _OPEN),
            "pool": (pool, (covers.GRASS,)),
        }
    )
)
"""Kind -> how it is drawn, and on which classes it may lie."""

NOVEL_KINDS: Final = tuple(NOVEL)
