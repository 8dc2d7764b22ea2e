"""The parts that the ground is made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.rehearsal.camera import FRAME_HEIGHT, FRAME_WIDTH, plan_flight
from edge_agent.rehearsal.landscape import Band, Sun, plan_landscape
from edge_agent.rehearsal.noise import NoiseGrid, Window
from edge_agent.rehearsal.sprites import cast, make_stamp, press


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 60), st.integers(1, 60))
def test_noise_has_no_seams(row: int, column: int, height: int, width: int) -> None:
    """Any window of noise is the same part of the whole, so blocks join without an edge."""
    grid = NoiseGrid(np.random.default_rng(3), (128, 128), (7.0, 5.0))
    whole = grid.block(Window(0, 0, 128, 128))
    window = Window(row, column, height, width)
    np.testing.assert_allclose(grid.block(window), whole[window.slices], atol=1e-4)


def test_band_measures_the_distance_to_its_line() -> None:
    """Across a gentle bend, the signed distance is within 5 % of that to the drawn line."""
    band = Band(angle=0.7, offset=120.0, waves=((60.0, 700.0, 0.4),), half_width=50.0)
    line = np.array([band.centre(along) for along in np.arange(-2000.0, 2000.0, 1.0)])
    rng = np.random.default_rng(1)
    for along in rng.uniform(-500, 500, 20):
        at = np.array(band.centre(along)) + rng.uniform(-60, 60, 2)
        nearest = np.hypot(*(line - at).T).min()
        _, across = band.coordinates(at[:1], at[1:])
        assert abs(across[0]) == pytest.approx(nearest, rel=0.05, abs=1.0)


@pytest.mark.parametrize(
    ("azimuth", "shift"), [(0, (1, 0)), (90, (0, -1)), (180, (-1, 0)), (270, (0, 1))]
)
def test_shadows_fall_away_from_the_sun(azimuth: float, shift: tuple[int, int]) -> None:
    """At 45 degrees a shadow is as long as the thing is high, and points away from the sun."""
    sun = Sun(math.radians(azimuth), math.radians(45))
    assert sun.shadow(10.0) == pytest.approx((10 * shift[0], 10 * shift[1]), abs=1e-9)


def test_shadow_covers_the_way_of_its_thing() -> None:
    """A cast shadow joins the thing's foot to where its top falls; the other side stays lit."""
    solid = np.zeros((61, 61), dtype=np.float32)
    solid[28:33, 28:33] = 1
    shadow = cast(solid, (0.0, 20.0))
    assert shadow[30, 30:50].min() > 0.9
    assert shadow[:, :26].max() == 0


@given(st.integers(-40, 90), st.integers(-40, 90))
def test_stamps_stay_on_the_ground(row: int, column: int) -> None:
    """A stamp over an edge marks just the pixels that it would mark on larger ground."""
    alpha = np.zeros((21, 31), dtype=np.float32)
    alpha[3:17, 5:29] = 1
    stamp = make_stamp(alpha, np.full((21, 31, 3), 200.0), np.zeros_like(alpha))
    small, large = np.zeros((50, 50, 3), np.uint8), np.zeros((250, 250, 3), np.uint8)
    maps = np.zeros((50, 50), np.uint8), np.zeros((250, 250), np.uint8)
    press(small, maps[0], 7, stamp, (row, column))
    press(large, maps[1], 7, stamp, (row + 100, column + 100))
    np.testing.assert_array_equal(small, large[100:150, 100:150])
    np.testing.assert_array_equal(maps[0], maps[1][100:150, 100:150])


@settings(max_examples=30, deadline=None)
@given(st.integers(250, 30_000), st.integers(0, 999))
def test_flight_meets_the_number_and_stays_over_ground(tiles: int, seed: int) -> None:
    """The flight gives nearly as many tiles as asked, sees rendered ground only, and names once."""
    flight = plan_flight(seed, tiles)
    assert abs(flight.tiles - tiles) <= max(60, 0.1 * tiles)
    height, width = flight.shape
    for shot in flight.shots:
        assert 0 <= shot.window.row <= height - FRAME_HEIGHT
        assert 0 <= shot.window.column <= width - FRAME_WIDTH
    names = [shot.name for shot in flight.shots]
    assert len(set(names)) == len(names)
    assert {shot.first for shot in flight.shots} <= set(names)


def test_landscape_is_coherent() -> None:
    """Land lies in parcels: a point and one 10 m beside it mostly grow the same."""
    land = plan_landscape(11, (2560, 2560))
    beside = 100 // 8
    same = land.kind[:, beside:] == land.kind[:, :-beside]
    assert same.mean() > 0.8
    shares = np.bincount(land.kind.ravel(), minlength=6) / land.kind.size
    assert 0.2 < shares.max() < 0.55
