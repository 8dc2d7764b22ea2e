"""From pixels to the ground: hand-computed places and scales."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from pyproj import Geod, Transformer
from rasterio.control import GroundControlPoint as Gcp
from rasterio.transform import from_origin

GREY = np.zeros((1, 64, 64), np.uint8)
METRE_PER_DEGREE_EQUATOR = 2 * math.pi * 6_378_137 / 360


def metres(one, longitude, latitude):
    """Distance on the ellipsoid."""
    return Geod(ellps="WGS84").inv(one.longitude, one.latitude, longitude, latitude)[2]


def test_north_up_utm(write_tif, read) -> None:
    """Tile centres are the projected centres of their windows, brought to WGS 84."""
    path = write_tif(GREY, transform=from_origin(404_000, 3_285_000, 0.5, 0.5))
    frame, tiles = read(path, resample="native")
    back = Transformer.from_crs(32617, 4326, always_xy=True)
    for tile in tiles:
        easting = 404_000 + (tile.column + 16) * 0.5
        northing = 3_285_000 - (tile.row + 16) * 0.5
        assert metres(tile.position, *back.transform(easting, northing)) < 1e-4
    assert frame.crs == "EPSG:32617"
    # UTM's scale here: 0.9996 on the central meridian, 96 km west of it 0.99971
    assert frame.gsd_m == pytest.approx(0.5 / 0.99971, rel=2e-5)
    assert frame.position.sigma_m == 1.0


def test_rotated_geotransform(write_tif, read) -> None:
    """30 degrees clockwise about the corner: the window's centre by sine and cosine."""
    turn = math.radians(30)
    transform = Affine.translation(500_000, 4_000_000) @ Affine(
        math.cos(turn), -math.sin(turn), 0, -math.sin(turn), -math.cos(turn), 0
    )
    frame, tiles = read(write_tif(GREY, crs="EPSG:32633", transform=transform), resample="native")
    back = Transformer.from_crs(32633, 4326, always_xy=True)
    tile = tiles[1]
    assert (tile.row, tile.column) == (0, 32)
    east = 48 * math.cos(turn) - 16 * math.sin(turn)
    north = -48 * math.sin(turn) - 16 * math.cos(turn)
    assert metres(tile.position, *back.transform(500_000 + east, 4_000_000 + north)) < 1e-4
    assert frame.gsd_m == pytest.approx(1 / 0.9996, rel=1e-4)


def test_geographic_crs_has_metres_at_its_latitude(write_tif, read) -> None:
    """At 60 degrees north a degree of longitude is half as long as at the equator."""
    step = 1e-5
    path = write_tif(GREY, crs="EPSG:4326", transform=from_origin(10.0, 60.0, step, step))
    frame, _ = read(path)
    # Radii of the ellipsoid at 60 degrees: 6 394 209 m across, 6 383 454 m along the meridian.
    east = math.radians(step) * 6_394_209.2 * math.cos(math.radians(60))
    north = math.radians(step) * 6_383_453.9
    assert frame.gsd_m == pytest.approx(math.sqrt(east * north), rel=1e-4)


def test_feet_count_as_feet(write_tif, read) -> None:
    """A state plane in US survey feet: one foot per pixel is 0.3048 m."""
    path = write_tif(GREY, crs="EPSG:2264", transform=from_origin(2_000_000, 600_000, 1, 1))
    frame, _ = read(path)
    assert frame.gsd_m == pytest.approx(1200 / 3937, rel=3e-4)


def test_oblong_pixels_count_by_their_area(write_tif, read) -> None:
    """2 m by 0.5 m pixels cover as much as pixels of 1 m."""
    frame, _ = read(write_tif(GREY, transform=from_origin(500_000, 4_000_000, 2.0, 0.5)))
    assert frame.gsd_m == pytest.approx(1.0, rel=1e-3)


def test_web_mercator_is_not_taken_at_its_word(write_tif, read) -> None:
    """Its metre at 60 degrees north is half a metre on the ground."""
    y = 8_399_737.9  # 60 degrees north
    path = write_tif(GREY, crs="EPSG:3857", transform=from_origin(0, y, 1.0, 1.0))
    frame, _ = read(path)
    assert frame.gsd_m == pytest.approx(0.5, rel=4e-3)


def test_across_the_antimeridian(write_tif, read) -> None:
    """Longitudes beyond 180 come back at -180; both sides are in the range."""
    path = write_tif(GREY, crs="EPSG:4326", transform=from_origin(179.9968, 1.0, 1e-4, 1e-4))
    _, tiles = read(path, resample="native")
    west, east = tiles[0].position, tiles[1].position
    assert west.longitude == pytest.approx(179.9984, abs=1e-9)
    assert east.longitude == pytest.approx(-179.9984, abs=1e-9)


def test_ground_control_points_that_agree(write_tif, read) -> None:
    """Corners of a true affine map: the fit is exact, the uncertainty that of the settings."""
    corners = [(0, 0), (0, 64), (64, 0), (64, 64)]
    gcps = [Gcp(r, c, 10 + c * 1e-5, 50 - r * 1e-5) for r, c in corners]
    path = write_tif(GREY, gcps=gcps, crs="EPSG:4326", transform=None)
    frame, tiles = read(path, resample="native")
    assert tiles[0].position.longitude == pytest.approx(10 + 16e-5, abs=1e-9)
    assert tiles[0].position.latitude == pytest.approx(50 - 16e-5, abs=1e-9)
    assert frame.position.sigma_m == pytest.approx(1.0, abs=1e-3)
    assert any("4 ground control points" in note for note in frame.notes)


def test_ground_control_points_that_disagree_cost_certainty(write_tif, read) -> None:
    """One corner of four moved by d: a plane fits with residual d/4 at each, so d/4 in all."""
    corners = [(0, 0), (0, 64), (64, 0), (64, 64)]
    gcps = [Gcp(r, c, c * 1e-5, -r * 1e-5) for r, c in corners]
    gcps[3] = Gcp(64, 64, 64e-5 + 4e-4, -64e-5)
    frame, _ = read(write_tif(GREY, gcps=gcps, crs="EPSG:4326", transform=None))
    off_m = 1e-4 * METRE_PER_DEGREE_EQUATOR
    assert frame.position.sigma_m == pytest.approx(math.hypot(1.0, off_m), rel=1e-3)


def test_ground_control_points_across_the_antimeridian(write_tif, read) -> None:
    """179.9997 and -179.9997 are neighbours, not a world apart."""
    corners = [(0, 0), (0, 64), (64, 0), (64, 64)]
    gcps = [Gcp(r, c, 179.9997 if c == 0 else -179.9997, -r * 1e-5) for r, c in corners]
    frame, _ = read(write_tif(GREY, gcps=gcps, crs="EPSG:4326", transform=None))
    assert abs(abs(frame.position.longitude) - 180.0) < 1e-6
    assert frame.gsd_m == pytest.approx(
        math.sqrt(6e-4 / 64 * 1e-5) * METRE_PER_DEGREE_EQUATOR, rel=0.01
    )


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        ({"crs": None}, "no coordinate reference system"),
        ({"transform": None}, "no transform"),
        ({"crs": 'LOCAL_CS["site grid",UNIT["metre",1]]'}, "cannot be related to WGS 84"),
        ({"crs": "EPSG:4326", "transform": from_origin(0, 300, 1, 1)}, "outside"),
    ],
)
def test_frames_without_a_place_are_still_read(write_tif, read, profile, note) -> None:
    """No position, no scale, native pixels, and a note that says why."""
    frame, tiles = read(write_tif(GREY, **profile))
    assert (frame.position, frame.gsd_m) == (None, None)
    assert all(tile.position is None for tile in tiles)
    assert any(note in text for text in frame.notes), frame.notes


def test_tile_scale_is_that_of_its_pixels(write_tif, read) -> None:
    """Averaged three to one, a tile's pixel covers three of the frame's."""
    frame, (tile,) = read(write_tif(np.zeros((1, 96, 96), np.uint8)), 32, 1.8)
    assert tile.gsd_m == pytest.approx(3 * frame.gsd_m)
