"""Plants the rare class and the novel things until their shares are reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.rehearsal import covers
from edge_agent.rehearsal.covers import PX, TILE_PX, Plane
from edge_agent.rehearsal.ground import Ground, Progress, render_familiar
from edge_agent.rehearsal.landscape import Sun, plan_landscape
from edge_agent.rehearsal.novel_kinds import NOVEL, NOVEL_KINDS
from edge_agent.rehearsal.sprites import Bools, Stamp, press, soften
from edge_agent.rehearsal.truth import NOVEL_SHARE, RARE_SHARE

_STEP = 8  # px between the tile positions tried when a thing's share of tiles is measured
_TRIES = 400
_MISSES = 24


def render_ground(
    seed: int,
    shape: tuple[int, int],
    *,
    novel_share: float,
    rare_share: float,
    progress: Progress,
) -> tuple[Ground, dict[str, int]]:
    """The finished ground of (height, width) pixels and how many things were planted on it."""
    landscape = plan_landscape(seed, shape)
    ground = render_familiar(seed, landscape, progress)
    planted = {
        "rare": plant_rare(seed, ground, rare_share),
        "novel": plant_novel(seed, ground, landscape.sun, novel_share),
    }
    return ground, planted


def marked_tiles(mask: Bools, least: float) -> float:
    """How many tiles a thing is expected to mark, over all tilings of the ground.

    mask: (H, W) pixels of the thing. least: share of a tile that marks it. A tile position is one
    of TILE_PX squared, so the area of marked positions over the area of a tile is the number.
    """
    padded = np.pad(mask.astype(np.int32), TILE_PX)
    sums = np.pad(padded.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    bands = sums[TILE_PX:] - sums[:-TILE_PX]
    covered = bands[:, TILE_PX:] - bands[:, :-TILE_PX]
    positions = int((covered[::_STEP, ::_STEP] >= least * TILE_PX**2).sum())
    return positions * _STEP**2 / TILE_PX**2


def _site(
    rng: np.random.Generator,
    ground: Ground,
    thing: _Thing,
    taken: npt.NDArray[np.bool_],
) -> tuple[int, int] | None:
    """A point where the thing lies on allowed ground and apart from what was planted before."""
    height, width = thing.stamp.mask.shape
    rows, columns = ground.classes.shape
    if height + 2 >= rows or width + 2 >= columns:
        return None
    for _ in range(_TRIES):
        top, left = int(rng.integers(rows - height)), int(rng.integers(columns - width))
        part = slice(top, top + height, 4), slice(left, left + width, 4)
        fits = np.isin(ground.classes[part], thing.allowed).mean() > 0.93
        if fits and not taken[part].any():
            return top + thing.stamp.anchor[0], left + thing.stamp.anchor[1]
    return None


@dataclass(frozen=True, slots=True)
class _Thing:
    """Something that could be put down."""

    stamp: Stamp
    value: int
    allowed: tuple[int, ...]
    """Classes that it may lie on."""


def plant_novel(seed: int, ground: Ground, sun: Sun, share: float) -> int:
    """Put novel things down until about `share` of all tiles show one; returns their number."""
    rng = np.random.default_rng([seed, 6])
    order = [NOVEL_KINDS[number] for number in rng.permutation(len(NOVEL_KINDS))]

    def draw(turn: int) -> _Thing:
        kind = order[turn % len(order)]
        paint, allowed = NOVEL[kind]
        return _Thing(paint(rng, sun), 1 + NOVEL_KINDS.index(kind), allowed)

    def put(thing: _Thing, at: tuple[int, int]) -> None:
        press(ground.pixels, ground.novelty, thing.value, thing.stamp, at)

    return _plant(rng, ground, share, NOVEL_SHARE, draw, put)


def plant_rare(seed: int, ground: Ground, share: float) -> int:
    """Let orchids flower in meadows until about `share` of all tiles are theirs."""
    rng = np.random.default_rng([seed, 7])

    def draw(turn: int) -> _Thing:
        return _Thing(orchids(rng), covers.ORCHID, (covers.GRASS,))

    def put(thing: _Thing, at: tuple[int, int]) -> None:
        press(ground.pixels, ground.classes, thing.value, thing.stamp, at, only=covers.GRASS)

    return _plant(rng, ground, share, RARE_SHARE, draw, put)


def _plant(
    rng: np.random.Generator,
    ground: Ground,
    share: float,
    least: float,
    draw: Callable[[int], _Thing],
    put: Callable[[_Thing, tuple[int, int]], None],
) -> int:
    """Put down things drawn in turn until the share of marked tiles is met as nearly as can be.

    least: share of a tile that marks it. At least one is put down, unless the share is 0; fewer
    than wanted where the ground has no room for more.
    """
    wanted = share * ground.classes.size / TILE_PX**2
    taken = np.zeros(ground.classes.shape, dtype=np.bool_)
    marked, count, misses = 0.0, 0, 0
    while marked < wanted and misses < _MISSES:
        thing = draw(count + misses)
        gain = marked_tiles(thing.stamp.mask, least)
        if marked + gain / 2 > wanted and count:
            break
        at = _site(rng, ground, thing, taken)
        if at is None:
            misses += 1
            continue
        put(thing, at)
        _reserve(taken, thing.stamp, at)
        marked, count = marked + gain, count + 1
    return count


def _reserve(taken: npt.NDArray[np.bool_], stamp: Stamp, at: tuple[int, int]) -> None:
    """Keep a tile's width free around."""
    height, width = stamp.mask.shape
    top, left = at[0] - stamp.anchor[0], at[1] - stamp.anchor[1]
    taken[
        max(top - TILE_PX, 0) : top + height + TILE_PX,
        max(left - TILE_PX, 0) : left + width + TILE_PX,
    ] = True


def orchids(rng: np.random.Generator) -> Stamp:
    """A patch of meadow in flower: purple, pink and a few white heads, denser in the middle."""
    radius = rng.uniform(7, 10) * PX
    side = int(radius * 2.5) | 1
    line = np.arange(side, dtype=np.float32) - side // 2
    far = np.hypot(line[:, None], line[None, :] * rng.uniform(0.9, 1.2)) / np.float32(radius)
    turn = np.arctan2(line[:, None], line[None, :])
    far = far + np.float32(0.12) * np.sin(3 * turn + rng.uniform(0, 6))
    density = np.clip(1.25 - far, 0, 1)
    heads = (rng.random((side, side), dtype=np.float32) < 0.16 * density).astype(np.float32)
    alpha = np.clip(soften(heads) * 4.2, 0, 0.92)
    white = rng.random((side, side, 1)) < 0.1
    pale = rng.random((side, side, 1), dtype=np.float32)
    purple, pink = np.array([150.0, 46.0, 140.0]), np.array([222.0, 120.0, 196.0])
    colour: Plane = np.where(white, 236, purple + pale * (pink - purple)).astype(np.float32)
    return Stamp(
        (1 - alpha)[:, :, None],
        colour * alpha[:, :, None],
        far < 0.95,
        (side // 2, side // 2),
    )
