"""Which bands are shown, and how their samples become 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.imagery.bands import choose_bands
from edge_agent.imagery.errors import FrameError
from edge_agent.imagery.stretch import Stretch, choose_stretch


@pytest.mark.parametrize(
    ("interpretation", "colours", "alpha", "palette", "noted"),
    [
        (["gray"], (1,), None, False, False),
        (["palette"], (1,), None, True, False),
        (["gray", "alpha"], (1,), 2, False, False),
        (["alpha", "gray"], (2,), 1, False, False),
        (["gray", "undefined"], (1,), None, False, True),
        (["red", "green", "blue"], (1, 2, 3), None, False, False),
        (["blue", "green", "red", "alpha"], (3, 2, 1), 4, False, False),
        (["red", "green", "blue", "undefined"], (1, 2, 3), None, False, False),
        (["gray", "undefined", "undefined"], (1, 2, 3), None, False, True),
        (["gray", "undefined", "undefined", "undefined"], (1, 2, 3), None, False, True),
        (["undefined"] * 4 + ["red", "green", "blue"], (5, 6, 7), None, False, False),
    ],
)
def test_bands_by_colour_interpretation(interpretation, colours, alpha, palette, noted) -> None:
    """Stated colours win over order; a guess is noted."""
    bands = choose_bands(interpretation)
    assert (bands.colours, bands.alpha, bands.palette) == (colours, alpha, palette)
    assert bool(bands.notes) is noted


@pytest.mark.parametrize(
    "interpretation",
    [["gray"] * 5, ["cyan", "magenta", "yellow", "black"], ["alpha"], ["red"] * 6],
)
def test_no_guess_where_it_would_be_a_lottery(interpretation) -> None:
    """Many bands without colours, inks, nothing but alpha: refused by name."""
    with pytest.raises(FrameError) as caught:
        choose_bands(interpretation)
    assert caught.value.reason == "unsupported-bands"


def test_whole_numbers_stretch_between_percentiles() -> None:
    """0..1000 uniform: the 2nd and 98th percentile are 20 and 980."""
    stretch = choose_stretch(np.arange(1001, dtype=np.uint16), floating=False)
    assert (stretch.low, stretch.high) == (20.0, 980.0)
    values = np.array([0, 20, 500, 980, 65535], np.uint16)
    assert stretch.apply(values).tolist() == [0, 0, 128, 255, 255]  # 480/960*255 = 127.5 -> 128


@pytest.mark.parametrize(("top", "high"), [(0.8, 1.0), (1.0, 1.0), (1.5, 255.0), (255.0, 255.0)])
def test_floats_within_a_usual_range_are_taken_as_it(top, high) -> None:
    """0..1 and 0..255 are fixed ranges, so that frames of one survey stay comparable."""
    stretch = choose_stretch(np.linspace(0.0, top, 50), floating=True)
    assert (stretch.low, stretch.high) == (0.0, high)


def test_other_floats_stretch_between_percentiles() -> None:
    """Below 0 or above 255 no range is known."""
    stretch = choose_stretch(np.linspace(-100.0, 100.0, 101), floating=True)
    assert (stretch.low, stretch.high) == (-96.0, 96.0)


@given(
    st.sampled_from([np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 30.0, 1e4]),
)
def test_any_sample_type_follows_the_same_line(kind, seed, spread) -> None:
    """Tables and arithmetic alike: within one grey level of the definition, never wrapped."""
    rng = np.random.default_rng(seed)
    sample = np.abs(rng.normal(spread * 3, spread, 200)).astype(kind)
    stretch = choose_stretch(sample, floating=kind in (np.float32, np.float64))
    ideal = np.clip((sample - np.float64(stretch.low)) / (stretch.high - stretch.low), 0, 1) * 255
    assert np.abs(stretch.apply(sample).astype(float) - ideal).max() <= 0.5 + 1e-2


def test_constant_and_missing_samples_do_not_divide_by_zero() -> None:
    """A constant frame, a huge constant, none at all: still a rule."""
    for sample in (np.full(9, 7, np.uint16), np.full(9, 1e30), np.empty(0, np.float32)):
        stretch = choose_stretch(sample, floating=sample.dtype.kind == "f")
        assert stretch.high > stretch.low
        assert stretch.apply(sample).shape == sample.shape


def test_samples_that_are_not_finite_become_black() -> None:
    """NaN has no colour; an infinity is at the end of its side."""
    pixels = Stretch(0.0, 10.0, "").apply(np.array([np.nan, np.inf, -np.inf, 5.0], np.float32))
    assert pixels.tolist() == [0, 255, 0, 128]
