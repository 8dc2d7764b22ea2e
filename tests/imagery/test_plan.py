"""The text by which a later run knows that tile numbers still mean the same tiles."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.imagery.tiling import Axis, Grid

axes = st.builds(
    lambda length, window, step: Axis(length, min(window, length), step),
    st.integers(16, 40),
    st.integers(1, 40),
    st.integers(1, 40),
)


@given(one=axes, other=axes)
def test_equal_texts_mean_equal_windows(one, other) -> None:
    """Both ways: a step that no window feels is no difference."""

    def windows(axis):
        return axis.length, axis.window, [axis.offset(i) for i in range(axis.count)]

    assert (one.plan == other.plan) == (windows(one) == windows(other))


def test_padding_and_averaging_are_told_apart() -> None:
    """The same window, another way into the tile."""
    axis = Axis(100, 50, 50)
    plans = {Grid(axis, axis, size, native).plan for size in ((50, 50), (50, 60))
             for native in (True, False)}  # fmt: skip
    assert len(plans) == 4


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"gsd": 1.2}, False),  # twice as much ground on a tile
        ({"size": 16}, False),
        ({"size": (32, 16)}, False),
        ({"overlap": 0.5}, False),
        ({"resample": "native"}, True),  # the frame has the model's scale: the same tiles
        ({"raster_sigma_m": 3.0, "block_cache_mib": 8}, True),
    ],
)
def test_what_changes_tiles_changes_the_text(write_tif, opened, coded, changed, same) -> None:
    """The text differs exactly where the pixels do."""
    path = write_tif(coded(100, 150))
    with opened(path) as before, opened(path, **changed) as after:
        one, other = ([t.pixels.tobytes() for t in frame.tiles()] for frame in (before, after))
        assert (one == other) == same
        assert (before.plan == after.plan) == same


def test_the_stretch_counts(write_tif, opened) -> None:
    """Two rasters of one shape whose samples are shown differently."""
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64)
    with opened(write_tif(ramp, "a.tif")) as a, opened(write_tif(ramp * 2, "b.tif")) as b:
        assert a.plan != b.plan


def test_another_process_says_the_same(write_tif, opened, coded) -> None:
    """No hash seed, no address in it."""
    path = write_tif(coded(100, 150).astype(np.float32) / 7)
    program = (
        "import sys; from pathlib import Path\n"
        "from edge_agent.imagery.frames import TilePlan, find_frame_files, open_frame\n"
        "(file,) = find_frame_files(Path(sys.argv[1]))\n"
        "with open_frame(file, TilePlan((32, 32), 0.6)) as frame: print(frame.plan)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    with opened(path) as frame:
        assert ran.stdout.strip() == frame.plan
