"""Memory does not grow with the raster."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

SIDE = 12_000
PROGRAM = textwrap.dedent("""
    import json, sys, psutil
    from pathlib import Path
    from edge_agent.imagery.frames import ImagerySettings, TilePlan, find_frame_files, open_frame
    process = psutil.Process()
    before = process.memory_info().rss
    peak, count = before, 0
    (file,) = find_frame_files(Path(sys.argv[1]))
    plan = TilePlan((256, 256), float(sys.argv[2]))
    with open_frame(file, plan) as opened:
        for tile in opened.tiles():
            count += 1
            if count % 16 == 0:
                peak = max(peak, process.memory_info().rss)
        expected = opened.tile_count
    peak = max(peak, process.memory_info().rss)
    print(json.dumps({"grown": peak - before, "tiles": count, "expected": expected}))
""").replace("ImagerySettings, ", "")


@pytest.fixture(scope="module")
def large_raster(tmp_path_factory):
    """12 000 x 12 000 RGB in strips of one row, 432 MB of pixels, nearly all of them sparse."""
    path = tmp_path_factory.mktemp("large") / "large.tif"
    profile = {
        "driver": "GTiff", "width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8",
        "photometric": "RGB", "interleave": "pixel", "blockysize": 1, "compress": "zstd",
        "crs": "EPSG:32617", "transform": rasterio.Affine(0.1, 0, 404_000, 0, -0.1, 3_285_000),
        "nodata": 0,
    }  # fmt: skip
    rows = np.arange(100, dtype=np.uint8)[None, :, None] + 1
    block = np.broadcast_to(rows, (3, 100, SIDE))
    with rasterio.open(path, "w", **profile) as dataset:
        for top in range(0, SIDE, 100):
            dataset.write(block, window=Window(0, top, SIDE, 100))
    return path


@pytest.mark.parametrize(("gsd", "tiles"), [("0.1", 47 * 47), ("0.6", 8 * 8)])
def test_a_large_raster_in_strips_fits_a_small_computer(large_raster, gsd, tiles) -> None:
    """Native and averaged six to one: less than 250 MB on top of the libraries."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, large_raster, gsd], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout)
    assert figures["tiles"] == figures["expected"] == tiles
    assert figures["grown"] < 250 * 10**6
