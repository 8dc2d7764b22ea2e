"""Common ground of crops, against crops whose place is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training.shared_ground import shared_ground

GROUND = np.random.default_rng(5).integers(0, 256, (90, 90, 3), dtype=np.uint8)

boxes = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(8, 40), st.integers(8, 40))


@given(st.lists(boxes, min_size=2, max_size=5))
@settings(max_examples=60, deadline=None)
def test_overlaps_are_those_of_the_boxes(placed: list[tuple[int, int, int, int]]) -> None:
    """Crops of one raster: exactly the pairs whose boxes share 6 x 6 px or more, to the pixel."""
    crops = [GROUND[t : t + h, left : left + w] for t, left, h, w in placed]
    wanted = {}
    for first, (t1, l1, h1, w1) in enumerate(placed):
        for second, (t2, l2, h2, w2) in enumerate(placed):
            height = min(t1 + h1, t2 + h2) - max(t1, t2)
            width = min(l1 + w1, l2 + w2) - max(l1, l2)
            if first < second and min(height, width) >= 6:
                smaller = min(h1 * w1, h2 * w2)
                whole = (t1, l1, h1, w1) == (t2, l2, h2, w2)
                wanted[first, second] = (height * width, height * width / smaller, whole)
    found = {(o.first, o.second): (o.pixels, o.of_smaller, o.whole) for o in shared_ground(crops)}
    assert found == wanted


def test_one_different_pixel_is_different_ground() -> None:
    """Equal windows suggest a shift; only an overlap that is equal throughout counts."""
    other = GROUND.copy()
    other[50, 50, 1] ^= 1
    assert shared_ground([GROUND[:60, :60], other[20:80, 20:80]]) == []
    assert len(shared_ground([GROUND[:60, :60], GROUND[20:80, 20:80]])) == 1


@pytest.mark.parametrize("side", [5, 30])
def test_plain_and_tiny_images_share_nothing(side: int) -> None:
    """Black images, and images smaller than a window, are no proof of common ground."""
    assert shared_ground([np.zeros((side, side, 3), dtype=np.uint8)] * 3) == []
