"""From a raster's pixels to the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import rasterio
from affine import Affine
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.control import GroundControlPoint
from rasterio.errors import RasterioError
from rasterio.transform import from_gcps

from edge_agent.domain import Position

WGS84: Final = Geod(ellps="WGS84")
_MIN_GCPS = 3


class Georeference(Protocol):
    """Where a frame's pixels lie."""

    @property
    def gsd_m(self) -> float | None:
        """Metres per pixel at the frame's centre; of oblong pixels the geometric mean."""

    def locate(self, column: float, row: float) -> Position | None:
        """The ground at a point of the frame; whole numbers are pixel corners."""


@dataclass(frozen=True, slots=True)
class Nowhere:
    """The georeference of a frame that does not say where it is."""

    gsd_m: float | None = None

    def locate(self, column: float, row: float) -> Position | None:
        """Nothing is known."""
        del column, row
        return None


@dataclass(frozen=True, slots=True)
class MapGeoreference:
    """An affine transform into some coordinate reference system."""

    transform: Affine
    to_wgs84: Transformer
    sigma_m: float
    gsd_m: float | None = None

    def locate(self, column: float, row: float) -> Position | None:
        """None where the reference system has no such place."""
        place = wgs84(self.to_wgs84, *_on_map(self.transform, column, row))
        return None if place is None else Position(*place, self.sigma_m)


def wgs84(to_wgs84: Transformer, x: float, y: float) -> tuple[float, float] | None:
    """Longitude in [-180, 180] and latitude, None where that does not exist."""
    longitude, latitude = to_wgs84.transform(x, y)
    if not (math.isfinite(longitude) and math.isfinite(latitude) and abs(latitude) <= 90.0):
        return None
    return wrapped(longitude), latitude


def wrapped(longitude: float) -> float:
    """The same meridian in [-180, 180]."""
    if -180.0 <= longitude <= 180.0:
        return longitude
    return (longitude + 180.0) % 360.0 - 180.0


def georeference_of(
    dataset: rasterio.DatasetReader, sigma_m: float
) -> tuple[Georeference, str | None, tuple[str, ...]]:
    """A raster's georeference, the name of its reference system, and what to know about it."""
    points, points_crs = dataset.gcps
    transform, crs = dataset.transform, dataset.crs
    fitted = transform.is_identity and len(points) > 0 and points_crs is not None
    if fitted:
        crs = points_crs
    if crs is None:
        return Nowhere(), None, ("no coordinate reference system: place unknown",)
    name = crs.to_string()
    if transform.is_identity and not fitted:
        return Nowhere(), name, ("a reference system, but no transform: place unknown",)
    try:
        to_wgs84 = Transformer.from_crs(CRS.from_wkt(crs.to_wkt()), "EPSG:4326", always_xy=True)
    except (CRSError, ProjError, RasterioError):
        return Nowhere(), name, ("reference system cannot be related to WGS 84: place unknown",)
    sigma_m = math.hypot(sigma_m, max(to_wgs84.accuracy, 0.0))
    notes: tuple[str, ...] = ()
    if fitted:
        fit = _fit(points, to_wgs84, unwrap=crs.is_geographic)
        if fit is None:
            return Nowhere(), name, ("ground control points define no transform: place unknown",)
        transform, residual_m = fit
        sigma_m = math.hypot(sigma_m, residual_m)
        notes = (f"placed by {len(points)} ground control points, {residual_m:.3g} m off",)
    gsd_m = _gsd_m(transform, to_wgs84, dataset.width / 2, dataset.height / 2)
    if gsd_m is None:
        return Nowhere(), name, ("its coordinates lie outside the reference system: place unknown",)
    return MapGeoreference(transform, to_wgs84, sigma_m, gsd_m), name, notes


def _fit(
    points: Sequence[GroundControlPoint], to_wgs84: Transformer, *, unwrap: bool
) -> tuple[Affine, float] | None:
    """Affine transform through ground control points, and its root mean square error in metres."""
    if len(points) < _MIN_GCPS:
        return None
    if unwrap and max(point.x for point in points) - min(point.x for point in points) > 180.0:
        points = [
            GroundControlPoint(point.row, point.col, point.x % 360.0, point.y) for point in points
        ]
    try:
        transform = from_gcps(points)
    except RasterioError:
        return None
    squares = []
    for point in points:
        there = wgs84(to_wgs84, point.x, point.y)
        fitted = wgs84(to_wgs84, *_on_map(transform, point.col, point.row))
        if there is None or fitted is None:
            return None
        squares.append(_distance_m(there, fitted) ** 2)
    return transform, math.sqrt(sum(squares) / len(squares))


def _gsd_m(transform: Affine, to_wgs84: Transformer, column: float, row: float) -> float | None:
    """Side in metres of the square that covers as much ground as the pixel there.

    Measured on the ellipsoid, so degrees, feet and the stretching of a map projection all count.
    """
    around = [(column - 0.5, row), (column + 0.5, row), (column, row - 0.5), (column, row + 0.5)]
    corners = [wgs84(to_wgs84, *_on_map(transform, *point)) for point in around]
    left, right, above, below = corners
    if left is None or right is None or above is None or below is None:
        return None
    right_azimuth, _, across_m = WGS84.inv(*left, *right)
    down_azimuth, _, down_m = WGS84.inv(*above, *below)
    area = across_m * down_m * abs(math.sin(math.radians(down_azimuth - right_azimuth)))
    return math.sqrt(area) if math.isfinite(area) and area > 0.0 else None


def _on_map(transform: Affine, column: float, row: float) -> tuple[float, float]:
    """Written out: affine 2 and 3 spell it differently."""
    return (
        transform.a * column + transform.b * row + transform.c,
        transform.d * column + transform.e * row + transform.f,
    )


def _distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    return float(WGS84.inv(*one, *other)[2])
