"""Where the tiles of a frame lie."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.imagery.errors import FrameError
from edge_agent.imagery.tiling import Axis, Grid, plan_grid

SHAPES = st.tuples(st.integers(16, 400), st.integers(16, 400))
SIZES = st.tuples(st.integers(16, 90), st.integers(16, 90))
GSDS = st.none() | st.floats(0.01, 10.0)


@given(SHAPES, SIZES, GSDS, st.floats(0.0, 0.9), st.sampled_from(["bundle-gsd", "native"]))
def test_windows_cover_the_frame_and_never_leave_it(shape, size, gsd, overlap, resample) -> None:
    """Any frame, model and overlap: every pixel is in a window, no window reaches outside."""
    grid = plan_grid(shape, gsd, size, 0.5, overlap=overlap, resample=resample)
    seen = np.zeros(shape, bool)
    for index in range(grid.count):
        window = grid.window(index)
        assert window.row >= 0
        assert window.column >= 0
        assert window.row + window.height <= shape[0]
        assert window.column + window.width <= shape[1]
        seen[window.row : window.row + window.height, window.column :][:, : window.width] = True
    assert seen.all()


@given(SHAPES, SIZES, GSDS, st.floats(0.0, 0.9))
def test_windows_come_row_by_row_each_once(shape, size, gsd, overlap) -> None:
    """The order is that of reading a page, and no window is given twice."""
    grid = plan_grid(shape, gsd, size, 0.5, overlap=overlap)
    places = [(w.row, w.column) for w in map(grid.window, range(grid.count))]
    assert places == sorted(set(places))


@given(st.integers(1, 5000), st.integers(1, 600), st.integers(1, 600))
def test_count_is_the_least_that_reaches_the_end(length, window, step) -> None:
    """By formula: 1 where the window covers the side, else 1 + ceil((length - window) / step)."""
    axis = Axis(length, min(window, length), step)
    expected = 1 if window >= length else 1 + math.ceil((length - window) / step)
    assert axis.count == expected
    assert axis.offset(axis.count - 1) == length - min(window, length)


def window_of(grid: Grid) -> tuple[int, int]:
    """Height and width."""
    return grid.rows.window, grid.columns.window


def test_the_last_window_shifts_inwards() -> None:
    """100 px in windows of 32: at 0, 32, 64, and the last at 68 instead of 96."""
    grid = plan_grid((32, 100), None, (32, 32), 0.6)
    assert [grid.window(i).column for i in range(grid.count)] == [0, 32, 64, 68]


def test_overlap_is_a_share_of_the_window() -> None:
    """A quarter of 40 px is shared: steps of 30."""
    grid = plan_grid((40, 130), None, (40, 40), 0.6, overlap=0.25)
    assert [grid.window(i).column for i in range(grid.count)] == [0, 30, 60, 90]


@pytest.mark.parametrize(
    ("gsd", "window", "native", "note"),
    [
        (0.6, (64, 128), True, None),
        (0.1, (384, 768), False, None),
        (0.25, (154, 307), False, None),  # 64 * 2.4 = 153.6, 128 * 2.4 = 307.2
        (0.599, (64, 128), True, None),
        (1.2, (32, 64), False, "coarser than the model expects"),
        (1.3, (64, 128), True, "much coarser"),
        (0.05, (64, 128), True, "too small for one tile at the model's scale"),
        (None, (64, 128), True, "unknown"),
    ],
)
def test_window_covers_the_ground_the_model_knows(gsd, window, native, note) -> None:
    """A model of 128 x 64 px at 0.6 m: hand-computed windows, and a note where it is not so."""
    grid = plan_grid((1000, 1000), gsd, (64, 128), 0.6)
    assert window_of(grid) == window
    assert grid.native is native
    assert len(grid.notes) == (0 if note is None else 1)
    assert note is None or note in grid.notes[0]


def test_native_ignores_scale() -> None:
    """With `native` the window is the model's size, and there is nothing to note."""
    grid = plan_grid((1000, 1000), 0.1, (64, 128), 0.6, resample="native")
    assert (window_of(grid), grid.native, grid.notes) == ((64, 128), True, ())


def test_a_frame_smaller_than_a_tile_is_one_padded_tile() -> None:
    """20 x 300 px against tiles of 64: one row of windows as high as the frame."""
    grid = plan_grid((20, 300), None, (64, 64), 0.6)
    assert window_of(grid) == (20, 64)
    assert (grid.rows.count, grid.columns.count) == (1, 5)
    assert any("padded" in note for note in grid.notes)


def test_enlarged_frame_as_large_as_one_window_is_not_taken_for_native() -> None:
    """32 px at 1.2 m are one window of a 64 px model at 0.6 m: enlarged, not padded."""
    grid = plan_grid((32, 32), 1.2, (64, 64), 0.6)
    assert (window_of(grid), grid.native, grid.count) == ((32, 32), False, 1)


@pytest.mark.parametrize("shape", [(15, 100), (100, 15), (1, 1)])
def test_a_frame_below_16_pixels_is_refused(shape) -> None:
    """Nothing can be told from so few pixels."""
    with pytest.raises(FrameError) as caught:
        plan_grid(shape, None, (64, 64), 0.6)
    assert caught.value.reason == "too-small"
