"""Pixels, metadata and truth agree on where things are, told by other code than wrote them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from defusedxml import ElementTree
from PIL import Image
from pyproj import Transformer

DJI = "{http://www.dji.com/drone-dji/1.0/}"
TO_UTM = Transformer.from_crs(4326, 32633, always_xy=True)


@dataclass
class Photo:
    """A frame by its metadata alone."""

    name: str
    width: int
    height: int
    east: float
    north: float
    gsd: float
    south_up: bool
    pixels: np.ndarray

    def north_up(self) -> np.ndarray:
        return self.pixels[::-1, ::-1] if self.south_up else self.pixels

    @property
    def left_top(self) -> tuple[float, float]:
        return self.east - self.width / 2 * self.gsd, self.north + self.height / 2 * self.gsd


def degrees(parts, reference: str) -> float:
    value = float(parts[0]) + float(parts[1]) / 60 + float(parts[2]) / 3600
    return -value if reference in "SW" else value


def xmp(image: Image.Image) -> dict[str, str]:
    root = ElementTree.fromstring(image.info["xmp"].decode())
    return {
        key.removeprefix(DJI): value
        for element in root.iter()
        for key, value in element.attrib.items()
        if key.startswith(DJI)
    }


def read_photo(root: Path, name: str) -> Photo:
    with Image.open(root / name) as image:
        exif, fields = image.getexif(), xmp(image)
        gps, details = exif.get_ifd(0x8825), exif.get_ifd(0x8769)
        height_m = float(fields["RelativeAltitude"])
        gsd = height_m * 36 / details[0xA405] / image.width
        longitude, latitude = degrees(gps[4], gps[3]), degrees(gps[2], gps[1])
        east, north = TO_UTM.transform(longitude, latitude)
        yaw = float(fields["GimbalYawDegree"])
        assert fields["GimbalPitchDegree"] == "-90.00"
        assert yaw in (0.0, 180.0)
        pixels = np.asarray(image.convert("RGB"))
        return Photo(name, *image.size, east, north, gsd, yaw == 180.0, pixels)


@pytest.fixture(scope="module")
def photos(rendered) -> list[Photo]:
    return [read_photo(rendered.root, name) for name in rendered.images if "/" in name]


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two images' brightness."""
    grey = [image[::3].mean(axis=2, dtype=np.float32).ravel() for image in (one, other)]
    return float(np.corrcoef(*grey)[0, 1])


def test_ground_resolution_follows_from_the_metadata(rendered, photos) -> None:
    """Height and equivalent focal length give the stated GSD, by width as by diagonal of film."""
    for photo in photos:
        assert photo.gsd == pytest.approx(rendered.summary["gsd_m"], rel=1e-4)
        diagonal = math.hypot(photo.width, photo.height) / math.hypot(36, 24)
        assert photo.width / 36 == pytest.approx(diagonal, rel=1e-9)


def test_truth_positions_follow_from_the_metadata(rendered, photos) -> None:
    """Every tile's position in truth is within 5 cm of what its frame's EXIF and XMP say."""
    by_name = {photo.name: photo for photo in photos}
    rows = [row for row in rendered.rows if row["frame"] in by_name]
    truth = TO_UTM.transform(
        [float(row["longitude"]) for row in rows], [float(row["latitude"]) for row in rows]
    )
    for row, east, north in zip(rows, *truth, strict=True):
        photo = by_name[row["frame"]]
        right = int(row["column"]) + 64 - photo.width / 2
        down = int(row["row"]) + 64 - photo.height / 2
        sign = -1 if photo.south_up else 1
        assert east == pytest.approx(photo.east + sign * right * photo.gsd, abs=0.05)
        assert north == pytest.approx(photo.north - sign * down * photo.gsd, abs=0.05)


def overlap(one: Photo, other: Photo, slip: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
    """What both see, cut by their positions; `slip` pixels wrong on purpose."""
    right = round((other.left_top[0] - one.left_top[0]) / one.gsd) + slip
    down = round((one.left_top[1] - other.left_top[1]) / one.gsd)
    height, width = one.height - abs(down), one.width - abs(right)
    if height < 100 or width < 100:
        return None
    first = one.north_up()[max(down, 0) :, max(right, 0) :][:height, :width]
    second = other.north_up()[max(-down, 0) :, max(-right, 0) :][:height, :width]
    return first, second


def test_overlapping_frames_show_the_same_ground(photos) -> None:
    """Cut to their overlap by metadata alone, frames match; two pixels beside, less so."""
    across_lines = 0
    for one, other in itertools.combinations(photos, 2):
        seen = overlap(one, other)
        if seen is None:
            continue
        assert alike(*seen) > 0.9, (one.name, other.name)
        slipped = overlap(one, other, slip=2)
        assert slipped is not None
        assert alike(*slipped) < alike(*seen) - 0.02
        across_lines += one.south_up != other.south_up
    assert across_lines > 0


def test_neighbours_overlap_as_stated(rendered, photos) -> None:
    """From shot to shot along a line, about the stated share of a frame is seen again."""
    shares = [
        1 - abs(one.north - other.north) / (one.height * one.gsd)
        for one, other in itertools.pairwise(photos)
        if one.south_up == other.south_up and "_" not in one.name + other.name
    ]
    assert len(shares) > 3
    assert np.mean(shares) == pytest.approx(rendered.summary["overlap"]["forward"], abs=0.03)
    assert all(0.55 < share < 0.75 for share in shares)


def test_mosaic_matches_the_frames(rendered, photos) -> None:
    """The mosaic's own georeference puts every frame's pixels where the frame's metadata does."""
    with rasterio.open(rendered.root / "orthomosaic.tif") as raster:
        assert raster.crs.to_epsg() == 32633
        assert raster.nodata == 0
        assert raster.profile["tiled"]
        whole, valid = raster.read().transpose(1, 2, 0), raster.dataset_mask() > 0
        west, north, step = raster.bounds.left, raster.bounds.top, raster.res[0]
    assert 0.01 < 1 - valid.mean() < 0.35
    for photo in photos:
        left = round((photo.left_top[0] - west) / step)
        top = round((north - photo.left_top[1]) / step)
        part = slice(top, top + photo.height), slice(left, left + photo.width)
        both = valid[part]
        assert both.mean() > 0.6
        assert alike(photo.north_up()[both][:, None], whole[part][both][:, None]) > 0.97


def test_mosaic_tiles_are_placed(rendered) -> None:
    """Truth's positions of mosaic tiles are the middles of their windows."""
    with rasterio.open(rendered.root / "orthomosaic.tif") as raster:
        west, north, step = raster.bounds.left, raster.bounds.top, raster.res[0]
    for row in rendered.rows:
        if row["frame"] == "orthomosaic.tif":
            east = west + (int(row["column"]) + 64) * step
            wanted = east, north - (int(row["row"]) + 64) * step
            got = TO_UTM.transform(float(row["longitude"]), float(row["latitude"]))
            assert got == pytest.approx(wanted, abs=0.01)


def test_capture_times_run_forward(rendered) -> None:
    """Frames carry local time with milliseconds and offset, in the order of their names."""
    times = []
    for name in rendered.images:
        if "/" not in name or "_" in name:
            continue
        with Image.open(rendered.root / name) as image:
            details = image.getexif().get_ifd(0x8769)
        text = f"{details[0x9003]}.{details[0x9291]}{details[0x9011]}"
        times.append(datetime.strptime(text, "%Y:%m:%d %H:%M:%S.%f%z"))
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]
    assert min(gaps) > 1
    assert max(gaps) < 30
