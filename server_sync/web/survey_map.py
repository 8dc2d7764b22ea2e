"""A survey as a small map: local metres, north up, graticule and scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from server_sync.curation.queries import Spot
from server_sync.domain import SampleKey

WIDTH, HEIGHT = 400.0, 320.0
_MARGIN = 34.0
_LEAST_EXTENT_M = 60.0
_METRES_PER_DEGREE = 111_195.0
"""On a sphere of 6371 km; a map of this size needs no ellipsoid."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A sample in drawing units."""

    key: SampleKey
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    """A meridian (drawn at x) or parallel (drawn at y) with its degrees."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class SurveyMap:
    """All that is drawn, in units of a `WIDTH` by `HEIGHT` picture with y downwards."""

    dots: tuple[Dot, ...]
    here: Dot
    sigma: float | None
    """Radius of the 1-sigma circle, None where unknown; far beyond the drawing all are alike."""
    meridians: tuple[Line, ...]
    parallels: tuple[Line, ...]
    bar: float
    """Length of the scale bar."""
    bar_label: str
    extent_m: float
    """Ground width of the drawing."""


def draw(here: Spot, spots: Sequence[Spot]) -> SurveyMap:
    """The map of a survey around one of its samples; `spots` may or may not hold it."""
    projected = [_metres(here, spot) for spot in spots]
    east = [x for x, _ in projected] + [0.0]
    north = [y for _, y in projected] + [0.0]
    middle = (min(east) + max(east)) / 2, (min(north) + max(north)) / 2
    wide = max(max(east) - min(east), _LEAST_EXTENT_M)
    high = max(max(north) - min(north), _LEAST_EXTENT_M * HEIGHT / WIDTH)
    scale = min((WIDTH - 2 * _MARGIN) / wide, (HEIGHT - 2 * _MARGIN) / high)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            round(WIDTH / 2 + (x - middle[0]) * scale, 2),
            round(HEIGHT / 2 - (y - middle[1]) * scale, 2),
        )

    dots = tuple(Dot(spot.key, *place(x, y)) for spot, (x, y) in zip(spots, projected, strict=True))
    bar_m = _nice(WIDTH / scale / 4)
    return SurveyMap(
        dots=dots,
        here=Dot(here.key, *place(0.0, 0.0)),
        sigma=None if here.sigma_m is None else round(min(here.sigma_m * scale, 10 * WIDTH), 2),
        meridians=_meridians(here, middle[0], scale),
        parallels=_parallels(here, middle[1], scale),
        bar=round(bar_m * scale, 2),
        bar_label=f"{bar_m:g} m" if bar_m < 1000 else f"{bar_m / 1000:g} km",
        extent_m=WIDTH / scale,
    )


def _metres(origin: Spot, spot: Spot) -> tuple[float, float]:
    """East and north of `origin`, the short way around the globe."""
    degrees = (spot.longitude - origin.longitude + 180.0) % 360.0 - 180.0
    return (
        degrees * _METRES_PER_DEGREE * _shrink(origin),
        (spot.latitude - origin.latitude) * _METRES_PER_DEGREE,
    )


def _shrink(origin: Spot) -> float:
    """Length of a degree of longitude against one of latitude.

    Held up within 130 km of a pole, where meridians would crowd and none of this has meaning.
    """
    return max(math.cos(math.radians(origin.latitude)), 0.02)


def _meridians(origin: Spot, middle: float, scale: float) -> tuple[Line, ...]:
    per_degree = _METRES_PER_DEGREE * _shrink(origin) * scale
    centre = origin.longitude + middle * scale / per_degree
    lines = _graticule(centre, per_degree, WIDTH)
    return tuple(
        Line(round(WIDTH / 2 + offset, 2), _degrees((value + 180) % 360 - 180, "EW", step))
        for value, offset, step in lines
    )


def _parallels(origin: Spot, middle: float, scale: float) -> tuple[Line, ...]:
    per_degree = _METRES_PER_DEGREE * scale
    centre = origin.latitude + middle * scale / per_degree
    lines = _graticule(centre, per_degree, HEIGHT)
    return tuple(
        Line(round(HEIGHT / 2 - offset, 2), _degrees(value, "NS", step))
        for value, offset, step in lines
        if abs(value) <= 90.0
    )


def _graticule(
    centre: float, units_per_degree: float, size: float
) -> list[tuple[float, float, float]]:
    """Round degrees within the drawing: the value, its offset from the middle, the step."""
    span = size / units_per_degree
    step = min(_nice(span / 2.5), 30.0)
    first = math.ceil((centre - span / 2) / step)
    last = math.floor((centre + span / 2) / step)
    return [
        (number * step, (number * step - centre) * units_per_degree, step)
        for number in range(first, last + 1)
    ]


def _degrees(value: float, letters: str, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    letter = letters[0] if value >= 0 else letters[1]
    return f"{abs(value):.{digits}f}° {letter}"


def _nice(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above `length`."""
    power = 10.0 ** math.floor(math.log10(length))
    for factor in (5.0, 2.0):
        if factor * power <= length:
            return factor * power
    return power
