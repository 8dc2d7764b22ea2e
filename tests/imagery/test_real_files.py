"""Real GeoTIFFs and a real flight, odd ones among them: what each of them must become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import rasterio
from PIL import Image, ImageFilter
from pyproj import Geod

from edge_agent.imagery.frames import FrameError, find_frame_files

EARTH = Geod(ellps="WGS84")


@dataclass(frozen=True)
class Expected:
    """What a file becomes with a model of 128 px at 0.6 m."""

    tiles: int
    """Before the end, or before the failure."""
    gsd_m: float | None = None
    place: tuple[float, float] | None = None
    """Longitude and latitude to half a degree."""
    note: str = ""
    failure: str = ""
    nodata: float | None = None
    """Mean share, where it can be told from outside."""


FILES = {
    # 400 px of 0.1 m: a window at 0.6 m would take 768, so native: 4 x 4 (the last shifts).
    "OSBS_029.tif": Expected(16, 0.1, (-82.0, 29.7), "too small for one tile at the model's scale"),
    # 16 bit, bands stored blue first; 634 x 411 px of 1.38 m, native: 5 x 4.
    "RGBA.uint16.tif": Expected(20, 1.38, (-108.4, 36.8), "stretched to 8 bits"),
    # 71 x 2475 px of 3 m, nothing in it: 1 x 20, padded to the right.
    "all-nodata.tif": Expected(20, 3.0, (-16.5, 14.5), "no valid pixels", nodata=1.0),
    # 100 m pixels across 180 degrees: 19 x 19.
    "cog_dateline.tif": Expected(361, 100.0, (179.7, 51.7), "much coarser"),
    # No transform but 210 ground control points; radar, some 200 m per pixel: 10 x 7.
    "cog_gcps_ovr.tif": Expected(70, 200.0, (76.9, 10.2), "210 ground control points"),
    "cog_rgba.tif": Expected(6, 0.15, (-104.8, 39.0), "too small for one tile"),
    # Header whole, JPEG data cut: 0.472 m on the ground makes windows of 163, 7 x 7; the blocks
    # of 512 break off behind row 511, so three rows of windows are good.
    "corrupt.tif": Expected(21, failure="truncated"),
    "float_nan.tif": Expected(0, failure="too-small"),  # 3 x 2 px
    # 1.19 m of Web Mercator at 16 degrees north are 1.14 m: windows of 67 px, enlarged, 8 x 8.
    "image_rgb_mask.tif": Expected(64, 1.143, (-61.6, 16.2), "enlarged"),
    "rgb1.tif": Expected(16, 300.0, (-78.3, 25.0), "much coarser"),
    "rotated.tif": Expected(0, failure="too-small"),  # 10 x 15 px
    # 1000 px of 0.25 m: windows of 307, 4 x 4.
    "test_tiled.tif": Expected(16, 0.25, (5.0, 51.8)),
    # The first 60 %: scanline 228 of 400 is the first missing, so one row of windows is good.
    "truncated_OSBS_029.tif": Expected(4, failure="truncated"),
}


@pytest.mark.parametrize("name", FILES)
def test_geotiffs(shared_data, opened, name) -> None:
    """Tiles with place, scale and notes, and one clear reason where there are no more."""
    expected = FILES[name]
    tiles, failure = [], ""
    try:
        with opened(shared_data / "geotiffs" / name, 128, 0.6) as frame:
            assert (expected.gsd_m is None) or frame.frame.gsd_m == pytest.approx(
                expected.gsd_m, rel=0.02
            )
            if expected.place is not None:
                place = frame.frame.position
                assert (place.longitude, place.latitude) == pytest.approx(expected.place, abs=0.5)
            assert expected.note in " / ".join(frame.frame.notes)
            tiles.extend(frame.tiles())
    except FrameError as error:
        failure = error.reason
    assert failure == expected.failure
    assert len(tiles) == expected.tiles
    if expected.nodata is not None:
        assert np.mean([tile.nodata_share for tile in tiles]) == expected.nodata


def test_no_file_is_forgotten(shared_data) -> None:
    """Every file of the folder has an expectation."""
    assert {file.name for file in find_frame_files(shared_data / "geotiffs")} == set(FILES)


@pytest.mark.parametrize("name", ["OSBS_029.tif", "cog_rgba.tif", "image_rgb_mask.tif"])
def test_holes_are_where_gdal_says(shared_data, read, name) -> None:
    """Nodata value, alpha, internal mask: the same pixels as GDAL's own dataset mask."""
    path = shared_data / "geotiffs" / name
    with rasterio.open(path) as dataset:
        valid = dataset.dataset_mask() > 0
        colours = np.moveaxis(dataset.read([1, 2, 3]), 0, 2)
    _, tiles = read(path, 64, resample="native")
    for tile in tiles:
        here = (slice(tile.row, tile.row + 64), slice(tile.column, tile.column + 64))
        assert tile.nodata_share == pytest.approx(1.0 - valid[here].mean())
        assert np.array_equal(tile.pixels, colours[here] * valid[here][..., None])


def test_dateline_tiles_lie_on_both_sides(shared_data, read) -> None:
    """Longitudes stay within 180 degrees, and neighbours stay neighbours."""
    _, tiles = read(shared_data / "geotiffs" / "cog_dateline.tif", 128)
    longitudes = [tile.position.longitude for tile in tiles]
    assert all(-180.0 <= value <= 180.0 for value in longitudes)
    assert min(longitudes) < -179.0
    assert max(longitudes) > 179.0
    one, other = tiles[0].position, tiles[1].position
    step = EARTH.inv(one.longitude, one.latitude, other.longitude, other.latitude)[2]
    assert step == pytest.approx(12_800, rel=0.01)


def test_flight(shared_data, read) -> None:
    """Twelve frames of 40 m above the beach, 3.6 cm per pixel, the first 13.6 m apart."""
    frames = [
        read(file.path, 128, 0.6)[0]
        for file in find_frame_files(shared_data / "flight_brighton_beach" / "half")
    ]
    assert len(frames) == 12
    assert frames[0].gsd_m == pytest.approx(39.8 * 36 / (20 * 2000))  # 0.0358
    assert frames[0].captured_at == "2016-06-23T16:31:59"
    assert frames[0].clock == "exif"
    assert (frames[0].position.longitude, frames[0].position.latitude) == pytest.approx(
        (-(91 + 59 / 60 + 40.4156 / 3600), 46 + 50 / 60 + 33.3855 / 3600)
    )
    one, other = frames[0].position, frames[1].position
    apart = EARTH.inv(one.longitude, one.latitude, other.longitude, other.latitude)[2]
    assert apart == pytest.approx(13.6, abs=0.3)


def test_tiles_of_the_flight_are_the_photo(shared_data, read) -> None:
    """Native tiles are Pillow's own pixels, to the byte."""
    path = shared_data / "flight_brighton_beach" / "half" / "DJI_0018.JPG"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    _, tiles = read(path, 256, resample="native", overlap=0.25)
    for tile in tiles:
        here = (slice(tile.row, tile.row + 256), slice(tile.column, tile.column + 256))
        assert np.array_equal(tile.pixels, pixels[here])


def same_ground(first, second, side=96):
    """Points (column, row) of two photos that show the same thing, by normalised correlation.

    At half size, above a coefficient of 0.6; knows nothing of where the photos were taken.
    """
    blurred = [grey.filter(ImageFilter.GaussianBlur(8)) for grey in (first, second)]
    one, two = (
        np.asarray(grey, float) - np.asarray(low, float)
        for grey, low in zip((first, second), blurred, strict=True)
    )

    def correlate(image, patch):
        padded = np.zeros_like(image)
        padded[:side, :side] = patch
        product = np.fft.rfft2(image) * np.conj(np.fft.rfft2(padded))
        return np.fft.irfft2(product, image.shape)

    ones = np.ones((side, side))
    spread = correlate(two**2, ones) - correlate(two, ones) ** 2 / side**2
    found = []
    for row in range(0, one.shape[0] - side, side):
        for column in range(0, one.shape[1] - side, side):
            patch = one[row : row + side, column : column + side]
            patch = (patch - patch.mean()) / patch.std()
            score = correlate(two, patch) / np.sqrt(np.maximum(spread, 1e-3)) / side
            score = score[:-side, :-side]
            down, right = np.unravel_index(score.argmax(), score.shape)
            if score[down, right] > 0.6:
                half = side / 2
                there = (2 * (right + half), 2 * (down + half))
                found.append(((2 * (column + half), 2 * (row + half)), there))
    return found


@pytest.mark.parametrize(
    ("pair", "heading"),
    [
        (("DJI_0020.JPG", "DJI_0021.JPG"), "from-photo"),
        (("DJI_0025.JPG", "DJI_0026.JPG"), "unknown"),
    ],
    ids=["outbound", "homebound, stored upside down"],
)
def test_places_agree_with_what_the_pictures_show(shared_data, opened, pair, heading) -> None:
    """The same ground in two photos gets the same place, within the uncertainty stated.

    On its way home this camera stored pictures that head north-east, and said south-west.
    """
    folder = shared_data / "flight_brighton_beach" / "half"
    georeferences, greys = [], []
    for name in pair:
        with opened(folder / name, 128, 0.6, photo_heading=heading) as frame:
            georeferences.append(frame.georeference)
        with Image.open(folder / name) as image:
            greys.append(image.convert("L").reduce(2))
    matches = same_ground(*greys)
    assert matches
    for points in matches:
        one, other = (g.locate(*p) for g, p in zip(georeferences, points, strict=True))
        off_m = EARTH.inv(one.longitude, one.latitude, other.longitude, other.latitude)[2]
        assert off_m < np.hypot(one.sigma_m, other.sigma_m)
