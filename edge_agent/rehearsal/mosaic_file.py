"""The orthomosaic as a tiled GeoTIFF, with the ragged edge that real ones have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from edge_agent.rehearsal.camera import Flight
from edge_agent.rehearsal.covers import GSD_M
from edge_agent.rehearsal.place import EPSG, Place

_BLOCK = 256
_STEP = 24  # px along the edge between two depths of the ragged rim
_DEPTH = 34.0


def covered(seed: int, flight: Flight) -> npt.NDArray[np.bool_]:
    """(H, W) where the mosaic has pixels: what the frames saw, less a ragged rim and a corner."""
    rng = np.random.default_rng([seed, 14])
    valid = np.zeros(flight.shape, dtype=np.bool_)
    for shot in flight.shots:
        valid[shot.window.slices] = True
    height, width = flight.shape
    for turned in (valid, valid[:, ::-1], valid.T, valid.T[:, ::-1]):
        length = turned.shape[0]
        depths = np.abs(rng.normal(0, _DEPTH / 2, length // _STEP + 2)) + _DEPTH / 2
        rim = np.interp(np.arange(length), np.arange(len(depths)) * _STEP, depths).astype(int)
        for line, depth in enumerate(rim.tolist()):
            turned[line, :depth] = False
    reach = int(rng.uniform(0.08, 0.14) * min(height, width))
    corner = np.add.outer(np.arange(reach), np.arange(reach)) < reach
    valid[:reach, width - reach :][corner[:, ::-1]] = False
    return valid


def write_mosaic(
    path: Path, pixels: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_], place: Place
) -> None:
    """Write (H, W, 3) as RGB with nodata 0; pixels without value become 0, no other is 0."""
    height, width = valid.shape
    options = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 3,
        "dtype": "uint8",
        "crs": CRS.from_epsg(EPSG),
        "transform": rasterio.Affine(GSD_M, 0.0, place.east, 0.0, -GSD_M, place.north),
        "nodata": 0,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "zlevel": 1,
        "predictor": 2,
        "interleave": "pixel",
        "photometric": "rgb",
    }
    with rasterio.open(path, "w", **options) as raster:
        raster.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        for band in range(3):
            plane = np.maximum(pixels[:, :, band], 1)
            plane[~valid] = 0
            raster.write(plane, band + 1)
