"""The label rule and the measure of shares on masks made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.rehearsal.covers import GRASS, LABELS, ORCHID, ROAD, SOIL, WATER
from edge_agent.rehearsal.planted import marked_tiles
from edge_agent.rehearsal.truth import label_tiles

SIDE = 128


def tile(*parts: tuple[int, int]) -> np.ndarray:
    """(128, 128) filled in reading order with (value, pixels) each."""
    values = np.concatenate([np.full(count, value, dtype=np.uint8) for value, count in parts])
    assert values.size == SIDE * SIDE
    return values.reshape(SIDE, SIDE)


NOTHING = tile((0, SIDE * SIDE))


def test_majority_decides() -> None:
    """The class with the most pixels is the tile's, without needing a half."""
    labels = label_tiles(tile((SOIL, 6000), (WATER, 6384), (ROAD, 4000)), NOTHING, 3)
    assert labels.label.tolist() == [[WATER]]
    assert labels.share[0, 0] == pytest.approx(6384 / 16384)


def test_lower_index_wins_a_tie() -> None:
    """Of two classes with as many pixels the one named first is taken."""
    labels = label_tiles(tile((WATER, 8192), (GRASS, 8192)), NOTHING, 3)
    assert labels.label.tolist() == [[min(WATER, GRASS)]]


def test_rare_class_wins_from_a_quarter_on() -> None:
    """A quarter of the tile makes it the rare class; one pixel less does not."""
    just = label_tiles(tile((ORCHID, 4096), (GRASS, 12288)), NOTHING, 3)
    less = label_tiles(tile((ORCHID, 4095), (GRASS, 12289)), NOTHING, 3)
    assert (just.label[0, 0], less.label[0, 0]) == (ORCHID, GRASS)


def test_novel_things_do_not_vote_but_mark() -> None:
    """Pixels under a novel thing name no class; from a fifth on they mark the tile."""
    classes = tile((SOIL, 9000), (GRASS, 7384))
    covered = label_tiles(classes, tile((2, 3277), (0, 13107)), 3)
    touched = label_tiles(classes, tile((2, 3276), (0, 13108)), 3)
    assert 3277 / 16384 >= 0.2 > 3276 / 16384
    assert covered.label.tolist() == [[GRASS]]
    assert covered.share[0, 0] == pytest.approx(7384 / 13107)
    assert (covered.novelty[0, 0], touched.novelty[0, 0]) == (2, 0)
    assert touched.novelty_share[0, 0] == pytest.approx(3276 / 16384)


def test_larger_of_two_novel_things_names_the_tile() -> None:
    """Two things count together towards the mark, and the larger gives the name."""
    labels = label_tiles(NOTHING, tile((3, 1800), (1, 1900), (0, 12684)), 3)
    assert labels.novelty.tolist() == [[1]]


def test_pixels_without_value_do_not_vote() -> None:
    """Only valid pixels vote, and a tile without any has no class."""
    classes = tile((WATER, 10000), (ROAD, 6384))
    valid = tile((0, 10000), (1, 6384)).astype(bool)
    labels = label_tiles(classes, NOTHING, 3, valid)
    assert labels.label.tolist() == [[ROAD]]
    assert labels.nodata_share[0, 0] == pytest.approx(10000 / 16384)
    nothing = label_tiles(classes, tile((1, SIDE * SIDE)), 3, np.zeros((SIDE, SIDE), dtype=bool))
    assert (nothing.label[0, 0], nothing.novelty[0, 0]) == (-1, 0)


def test_tiles_keep_their_places() -> None:
    """In a grid of tiles each is labelled from its own window."""
    kinds = np.array([[SOIL, WATER, ROAD], [GRASS, ORCHID, SOIL]], dtype=np.uint8)
    classes = kinds.repeat(SIDE, axis=0).repeat(SIDE, axis=1)
    labels = label_tiles(classes, np.zeros_like(classes), 3)
    assert labels.label.tolist() == kinds.tolist()
    assert max(labels.label.ravel()) < len(LABELS)


def test_marked_tiles_by_hand() -> None:
    """A tile-sized square half covers a tile shifted by up to half a side, sideways or down."""
    square = np.ones((SIDE, SIDE), dtype=bool)
    # Shifts (a, b) in steps of 8 px with (128 - |a|)(128 - |b|) >= 8192, each worth 64 px.
    steps = range(-SIDE, SIDE + 1, 8)
    count = sum((SIDE - abs(a)) * (SIDE - abs(b)) >= 8192 for a in steps for b in steps)
    assert marked_tiles(square, 0.5) == pytest.approx(count * 64 / SIDE**2)


@given(st.integers(1, 200), st.integers(1, 200), st.floats(0.05, 0.9))
def test_marked_tiles_is_the_mean_over_tilings(height: int, width: int, least: float) -> None:
    """It is near what counting all whole-pixel positions of a tile over a rectangle gives."""

    def lengths(side: int) -> np.ndarray:
        at = np.arange(-SIDE, side + 1)
        return np.maximum(np.minimum(at + SIDE, side) - np.maximum(at, 0), 0)

    inside = lengths(height)[:, None] * lengths(width)[None, :]
    wanted = (inside >= least * SIDE**2).sum() / SIDE**2
    got = marked_tiles(np.ones((height, width), dtype=bool), least)
    assert got == pytest.approx(wanted, abs=0.12 + 0.12 * wanted)
