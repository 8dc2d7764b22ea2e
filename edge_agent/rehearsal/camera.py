"""The flight: where the shutter opens, and what the sensor makes of the ground below."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.rehearsal.covers import GSD_M, TILE_PX
from edge_agent.rehearsal.noise import Window

FRAME_HEIGHT: Final = 6 * TILE_PX
FRAME_WIDTH: Final = 9 * TILE_PX
"""3:2 like 35 mm film: the equivalent focal length means the same by width and by diagonal."""
FORWARD_OVERLAP: Final = 0.65
SIDE_OVERLAP: Final = 0.40
FOCAL_MM: Final = 8.8
FOCAL_35MM: Final = 24
HEIGHT_M: Final = GSD_M * FRAME_WIDTH * FOCAL_35MM / 36.0
"""Above ground; 36 mm is the width of 35 mm film."""
_SPEED_MS = 8.0
_TURN_S = 14.0
_SHAKE_PX = 18
_MARGIN_PX = 24

_TILES_PER_FRAME = (FRAME_HEIGHT // TILE_PX) * (FRAME_WIDTH // TILE_PX)


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame to be taken."""

    name: str
    window: Window
    """The ground it sees."""
    turned: bool
    """Flown southwards: the frame's top is the south."""
    gain: float
    """Exposure, about 1."""
    noise: int
    """Where in the sensor's noise this frame starts."""
    seconds: float
    """Since the first shot."""
    first: str
    """The first shot of the same ground from the same place; its own name if it is that."""


@dataclass(frozen=True, slots=True)
class Flight:
    """All shots in the order of their taking, over ground of `shape` pixels."""

    shape: tuple[int, int]
    lines: int
    per_line: int
    shots: tuple[Shot, ...]

    @property
    def tiles(self) -> int:
        """Tiles of all frames and of the orthomosaic."""
        return len(self.shots) * _TILES_PER_FRAME + _mosaic_tiles(self.shape)


def _steps() -> tuple[int, int]:
    """Pixels from shot to shot and from line to line."""
    return (
        round(FRAME_HEIGHT * (1 - FORWARD_OVERLAP)),
        round(FRAME_WIDTH * (1 - SIDE_OVERLAP)),
    )


def _shape(lines: int, per_line: int) -> tuple[int, int]:
    forward, side = _steps()
    height = FRAME_HEIGHT + (per_line - 1) * forward + 2 * _MARGIN_PX
    width = FRAME_WIDTH + (lines - 1) * side + 2 * _MARGIN_PX
    return math.ceil(height / TILE_PX) * TILE_PX, math.ceil(width / TILE_PX) * TILE_PX


def _mosaic_tiles(shape: tuple[int, int]) -> int:
    return (shape[0] // TILE_PX) * (shape[1] // TILE_PX)


def _repeats(shots: int) -> int:
    """How many shots are taken or stored a second time."""
    return max(2, round(0.06 * shots))


def plan_flight(seed: int, tiles: int) -> Flight:
    """The serpentine flight whose frames and orthomosaic come nearest to `tiles` tiles.

    Only whole frames in a field between 2:3 and 3:2 are flown, so the number is met to within
    about a line of frames; the least is one frame, its repeats and their mosaic.
    """
    best = (math.inf, 1, 1)
    for lines in range(1, 2 + math.isqrt(tiles)):
        for per_line in range(1, 2 + tiles // (lines * _TILES_PER_FRAME)):
            shape = _shape(lines, per_line)
            if lines * per_line > 2 and not 2 / 3 <= shape[0] / shape[1] <= 3 / 2:
                continue
            shots = lines * per_line
            total = _TILES_PER_FRAME * (shots + _repeats(shots)) + _mosaic_tiles(shape)
            best = min(best, (abs(total - tiles), lines, per_line))
    _, lines, per_line = best
    taken = _with_repeats(np.random.default_rng([seed, 9]), _serpentine(seed, lines, per_line))
    return Flight(_shape(lines, per_line), lines, per_line, taken)


def _serpentine(seed: int, lines: int, per_line: int) -> list[Shot]:
    rng = np.random.default_rng([seed, 8])
    height, width = _shape(lines, per_line)
    forward, side = _steps()
    spare = (
        (height - FRAME_HEIGHT - (per_line - 1) * forward) // 2,
        (width - FRAME_WIDTH - (lines - 1) * side) // 2,
    )
    shots: list[Shot] = []
    seconds, light = 0.0, rng.uniform(0, 2 * math.pi)
    for line in range(lines):
        south = line % 2 == 1
        for place in range(per_line) if south else reversed(range(per_line)):
            row, column = rng.integers(-_SHAKE_PX, _SHAKE_PX + 1, 2).tolist()
            row += spare[0] + place * forward
            column += spare[1] + line * side
            name = f"R{len(shots) + 1:04d}.jpg"
            gain = 1 + 0.05 * math.sin(light + seconds / 40) + float(rng.normal(0, 0.012))
            window = Window(row, column, FRAME_HEIGHT, FRAME_WIDTH)
            noise = int(rng.integers(1 << 16))
            shots.append(Shot(name, window, south, gain, noise, round(seconds, 3), name))
            seconds += forward * GSD_M / _SPEED_MS
        seconds += _TURN_S
    return shots


def _with_repeats(rng: np.random.Generator, shots: list[Shot]) -> tuple[Shot, ...]:
    """Add shots taken twice from one place, and one file stored twice."""
    chosen = rng.choice(len(shots), min(_repeats(len(shots)), len(shots)), replace=False).tolist()
    again: dict[int, list[Shot]] = {}
    for number in range(_repeats(len(shots))):
        place = chosen[number % len(chosen)]
        shot, stem = shots[place], shots[place].name.removesuffix(".jpg")
        if number == 0:
            twin = Shot(f"{stem}_copy.jpg", shot.window, shot.turned, shot.gain, shot.noise,
                        shot.seconds, shot.name)  # fmt: skip
        else:
            gain = shot.gain + float(rng.normal(0, 0.006))
            noise, later = int(rng.integers(1 << 16)), round(shot.seconds + 0.7, 3)
            name = f"{stem}_hover{number}.jpg"
            twin = Shot(name, shot.window, shot.turned, gain, noise, later, shot.name)
        again.setdefault(place, []).append(twin)
    return tuple(s for place, shot in enumerate(shots) for s in (shot, *again.get(place, [])))


class Sensor:
    """Turns ground into frames: exposure, and noise that differs from frame to frame."""

    _PIXELS = FRAME_HEIGHT * FRAME_WIDTH * 3

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 10])
        grain = rng.standard_normal(self._PIXELS + (1 << 16), dtype=np.float32) * np.float32(2.2)
        self._noise = np.round(grain).astype(np.int16)

    def take(self, pixels: npt.NDArray[np.uint8], shot: Shot) -> npt.NDArray[np.uint8]:
        """(FRAME_HEIGHT, FRAME_WIDTH, 3) of the ground (H, W, 3) below the shot."""
        seen = pixels[shot.window.slices]
        if shot.turned:
            seen = seen[::-1, ::-1]
        curve = np.round(np.arange(256) * shot.gain).clip(0, 255).astype(np.int16)
        raw = curve[seen]
        raw += self._noise[shot.noise : shot.noise + self._PIXELS].reshape(raw.shape)
        return np.clip(raw, 0, 255, out=raw).astype(np.uint8)
