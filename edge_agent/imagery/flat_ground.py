"""Where a photo's pixels lie if the ground below the aircraft is flat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from edge_agent.domain import Position
from edge_agent.imagery.exif import PhotoFacts
from edge_agent.imagery.georeference import WGS84, Georeference, Nowhere, wrapped

FILM_DIAGONAL_MM: Final = math.hypot(36.0, 24.0)
"""35 mm equivalents compare diagonals (CIPA DCG-001), whatever the sides' proportion is. A 4:3
sensor of 17.3 x 13 mm behind 12.3 mm is called 24 mm: 43.27 / 21.6 * 12.3, not 36 / 17.3 * 12.3."""
NADIR_TOLERANCE_DEGREES: Final = 10.0
SCALE_ERROR: Final = 0.05
"""Of distances in the photo: 35 mm equivalents are whole numbers, take-off is not the ground."""


@dataclass(frozen=True, slots=True)
class FlatGround:
    """A camera at a place, looking straight down as far as is known."""

    longitude: float
    latitude: float
    sigma_m: float
    width: int
    height: int
    gsd_m: float | None
    """None when the photo does not look straight down, or does not say."""
    yaw_degrees: float | None

    def locate(self, column: float, row: float) -> Position | None:
        """The ground below a point of the photo; its uncertainty grows away from the centre.

        Without heading any point of the frame may lie anywhere in its circle; without scale its
        distance from the camera is not known at all.
        """
        right, up = column - self.width / 2, self.height / 2 - row
        if right == 0.0 and up == 0.0:
            return Position(self.longitude, self.latitude, self.sigma_m)
        if self.gsd_m is None:
            return Position(self.longitude, self.latitude, None)
        if self.yaw_degrees is None:
            radius_m = math.hypot(self.width, self.height) / 2 * self.gsd_m
            return Position(self.longitude, self.latitude, self.sigma_m + radius_m)
        distance_m = math.hypot(right, up) * self.gsd_m
        azimuth = self.yaw_degrees + math.degrees(math.atan2(right, up))
        longitude, latitude, _ = WGS84.fwd(self.longitude, self.latitude, azimuth, distance_m)
        sigma_m = math.hypot(self.sigma_m, SCALE_ERROR * distance_m)
        return Position(wrapped(longitude), latitude, sigma_m)


def photo_georeference(
    facts: PhotoFacts, shape: tuple[int, int], gps_sigma_m: float, *, trust_heading: bool = True
) -> tuple[Georeference, tuple[str, ...]]:
    """Georeference of a photo of `shape` (height, width) as shown, and what to know about it."""
    height, width = shape
    gsd_m, notes = _nadir_gsd(facts, _sensor_diagonal(width, height))
    if facts.longitude is None or facts.latitude is None:
        return Nowhere(gsd_m), (*notes, "no GPS position: place unknown")
    # Which way the upper edge of a picture turned by its orientation points depends on the maker.
    yaw = facts.yaw_degrees if trust_heading and facts.orientation == 1 else None
    if yaw is None and gsd_m is not None:
        notes = (*notes, "heading unknown: tiles are placed at the frame's centre")
    sigma_m = facts.gps_sigma_m or gps_sigma_m
    if gsd_m is not None:
        sigma_m = math.hypot(sigma_m, _tilt_error_m(facts))
    place = FlatGround(facts.longitude, facts.latitude, sigma_m, width, height, gsd_m, yaw)
    return place, notes


def _nadir_gsd(facts: PhotoFacts, diagonal: float) -> tuple[float | None, tuple[str, ...]]:
    """Metres per pixel straight below: altitude * film diagonal / (focal length * pixels)."""
    altitude, pitch = facts.relative_altitude_m, facts.pitch_degrees
    if altitude is None or altitude <= 0.0:
        return None, ("height above ground unknown: no scale",)
    if pitch is None:
        return None, ("camera pitch unknown: no scale",)
    if abs(pitch + 90.0) > NADIR_TOLERANCE_DEGREES:
        return None, (f"not looking down (pitch {pitch:.0f} degrees): no scale",)
    if facts.focal_35mm is None:
        return None, ("focal length unknown: no scale",)
    return altitude * FILM_DIAGONAL_MM / (facts.focal_35mm * diagonal), ()


def _sensor_diagonal(width: int, height: int) -> float:
    """Corner to corner of the sensor, in the picture's pixels.

    A picture wider than 3:2 is cut from a sensor that is not; which one it does not say. Taken as
    3:2 it is right for such sensors, and 4 % too large for one of 4:3: within `SCALE_ERROR`.
    """
    longer, shorter = max(width, height), min(width, height)
    return math.hypot(longer, max(shorter, longer * 2 / 3))


def _tilt_error_m(facts: PhotoFacts) -> float:
    """How far the ground at the centre lies from the point below the camera."""
    tilt = math.radians(abs((facts.pitch_degrees or -90.0) + 90.0))
    return (facts.relative_altitude_m or 0.0) * math.tan(tilt)
