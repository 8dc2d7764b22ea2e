"""What each kind of ground looks like: noise in, colour planes (3, height, width) in 0..255 out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_agent.rehearsal.covers import PX, Plane

Noise = Mapping[float, Plane]
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one survey: the same ground looks a little different each season."""

    lush: Colour
    dry: Colour
    dark_soil: Colour
    pale_soil: Colour
    heath: Colour
    leaf_litter: Colour
    needles: Colour
    dead_floor: Colour
    deep_water: Colour
    shallow_water: Colour
    sand: Colour
    asphalt: Colour


def draw_palette(seed: int) -> Palette:
    """The palette of a seed."""
    rng = np.random.default_rng([seed, 2])

    def near(red: float, green: float, blue: float) -> Colour:
        gains = rng.normal(1, 0.025, 3) * rng.normal(1, 0.06)
        return (red * float(gains[0]), green * float(gains[1]), blue * float(gains[2]))

    return Palette(
        lush=near(74, 112, 46),
        dry=near(146, 146, 84),
        dark_soil=near(112, 84, 60),
        pale_soil=near(166, 138, 104),
        heath=near(112, 104, 66),
        leaf_litter=near(58, 60, 36),
        needles=near(66, 54, 40),
        dead_floor=near(132, 118, 92),
        deep_water=near(38, 66, 74),
        shallow_water=near(78, 96, 84),
        sand=near(188, 172, 138),
        asphalt=near(104, 104, 108),
    )


def _tint(one: Colour, other: Colour, share: Plane, light: Plane) -> Plane:
    """From one colour to the other by share, brightened by light (0..255 units)."""
    out = np.empty((3, *share.shape), dtype=np.float32)
    for channel in range(3):
        np.multiply(share, np.float32(other[channel] - one[channel]), out=out[channel])
        out[channel] += light
        out[channel] += np.float32(one[channel])
    return out


def _mix(noise: Noise, **weights: float) -> Plane:
    """Weighted noise; `c12=3.0` takes 3 times the noise of 12 px cells."""
    total: Plane | None = None
    for name, weight in weights.items():
        part = noise[float(name[1:])] * np.float32(weight)
        total = part if total is None else np.add(total, part, out=total)
    if total is None:
        raise ValueError("no noise named")
    return total


def grass(palette: Palette, noise: Noise, tone: Plane, phase: Plane) -> Plane:
    """Meadows and pastures, some of them mown in stripes."""
    share = np.clip(0.36 + 0.26 * tone + _mix(noise, c300=0.10, c96=0.07, c32=0.07, c12=0.05), 0, 1)
    stripes = np.where(tone > 0.3, np.float32(6.0), np.float32(0.0))
    stripes *= np.sin(phase * np.float32(2 * np.pi / (4.2 * PX)))
    light = _mix(noise, c1=6.5, c2=8.0, c5=5.0, c12=3.5) + stripes
    return _tint(palette.lush, palette.dry, share, light)


def soil(palette: Palette, noise: Noise, tone: Plane, phase: Plane) -> Plane:
    """Fields without a crop, most of them ploughed, with a few stones."""
    share = np.clip(0.5 + 0.36 * tone + _mix(noise, c300=0.13, c96=0.11, c32=0.06), 0, 1)
    wander = noise[32.0] * np.float32(0.5)
    depth = np.where(tone > -0.6, np.float32(9.0), np.float32(0.0)) * (1 + 0.3 * noise[12.0])
    furrows = depth * np.sin(phase * np.float32(2 * np.pi / (0.95 * PX)) + wander)
    stones = np.maximum(noise[2.0] - 3.0, 0) * 70
    light = _mix(noise, c1=6.0, c2=5.0, c5=5.0) + furrows + stones
    return _tint(palette.dark_soil, palette.pale_soil, share, light)


def floor(palette: Palette, colour: Colour, noise: Noise) -> Plane:
    """What shows between trees and shrubs."""
    share = np.clip(0.22 + _mix(noise, c32=0.14, c12=0.1, c96=0.06), 0, 0.8)
    light = _mix(noise, c1=6.0, c2=7.0, c5=6.0)
    return _tint(colour, palette.lush, share, light)


def water(palette: Palette, noise: Noise, ripples: Plane, depth: Plane) -> Plane:
    """depth 0..1 from the bank to the middle; the sun glints off the steepest ripples."""
    share = np.clip(1 - depth + _mix(noise, c96=0.12, c32=0.05), 0, 1)
    glint = np.maximum(ripples + 0.35 * noise[2.0] - 1.75, 0) * 70
    light = ripples * np.float32(4.0) + _mix(noise, c1=1.6, c300=3.0) + np.minimum(glint, 120)
    return _tint(palette.deep_water, palette.shallow_water, share, light)


def sand(palette: Palette, noise: Noise) -> Plane:
    """Banks and yards."""
    share = np.clip(0.3 + _mix(noise, c32=0.14, c12=0.1), 0, 1)
    light = _mix(noise, c1=7.0, c2=6.0, c5=4.0)
    return _tint(palette.sand, palette.pale_soil, share, light)


def road(palette: Palette, noise: Noise, along: Plane, across: Plane, half: float) -> Plane:
    """Asphalt with wheel tracks, edge lines and a broken centre line."""
    tracks = np.abs(np.abs(across) - np.float32(half * 0.5)) < 0.35 * PX
    light = _mix(noise, c1=5.0, c2=2.5, c12=2.0, c96=4.0) - 7.0 * tracks
    patches = np.where(noise[96.0] + 0.3 * noise[32.0] > 1.5, np.float32(-16), np.float32(0))
    out = _tint(palette.asphalt, palette.asphalt, patches, light + patches)
    worn = 0.8 + 0.14 * noise[5.0]
    edge = np.clip(1.4 - np.abs(np.abs(across) - np.float32(half - 0.35 * PX)), 0, 1)
    dash = np.clip(1.6 - np.abs(across), 0, 1) * (np.mod(along, 6 * PX) < 3 * PX)
    paint = np.clip(np.maximum(edge, dash) * worn, 0, 1)
    out += paint * (np.float32(222) - out)
    return out
