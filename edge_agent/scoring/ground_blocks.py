"""Blocks of ground: neighbouring tiles are not independent, so a whole block has one vote.

The grid covers the earth: rows of equal height in latitude, each cut into a whole number of
columns at its own latitude's scale (equirectangular). So it closes at the dateline, and at the
poles a row is a single block.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

from edge_agent.domain import Position

METRES_PER_DEGREE: Final = 6_371_008.8 * math.pi / 180.0
"""On the sphere of the earth's mean radius; the ellipsoid differs by less than 1 %."""
_MOST_DOUBLINGS: Final = 40


def frame_block(frame: str) -> str:
    """The block of tiles without a position: all of their frame."""
    digest = hashlib.blake2b(frame.encode("utf-8", "surrogatepass"), digest_size=8)
    return f"f:{digest.hexdigest()}"


def ground_block(position: Position, side_m: float, extent_m: float | None) -> tuple[str, int]:
    """The block that a tile's centre lies in, and how many tiles of its extent fit side by side.

    Args:
        side_m: side of a block in metres. Doubled until a tile fits in, so that blocks of large
            tiles share little ground.
        extent_m: side of the tile in metres, None if it is not known.

    Raises:
        ValueError: the position is no place on earth.
    """
    longitude, latitude = position.longitude, position.latitude
    if not (math.isfinite(longitude) and -90.0 <= latitude <= 90.0):
        raise ValueError(f"no place on earth: {longitude}, {latitude}")
    doublings = 0
    extent = side_m
    if extent_m is not None and math.isfinite(extent_m) and extent_m > 0.0:
        extent = extent_m
    while extent > side_m * 2**doublings and doublings < _MOST_DOUBLINGS:
        doublings += 1
    side = side_m * 2**doublings
    row = math.floor(latitude * METRES_PER_DEGREE / side)
    middle = math.radians(min(max((row + 0.5) * side / METRES_PER_DEGREE, -90.0), 90.0))
    columns = max(round(360.0 * METRES_PER_DEGREE * math.cos(middle) / side), 1)
    column = math.floor((longitude % 360.0) / 360.0 * columns) % columns
    return f"{doublings}:{row}:{column}", max(int(side / extent), 1) ** 2
