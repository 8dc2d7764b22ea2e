"""Duplicate groups are what they say: the same view of the same ground."""

from __future__ import annotations

from collections import defaultdict

import numpy as np


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(one.astype(np.int16) - other).mean())


def test_groups_are_near_identical_views(rendered) -> None:
    """Tiles of one group differ by sensor noise only, and tiles of the stored copy not at all."""
    groups = defaultdict(list)
    for row in rendered.rows:
        groups[row["group"]].append(row)
    several = [rows for rows in groups.values() if len(rows) > 1]
    assert len(several) >= 2 * 54
    copies = 0
    for first, *others in several:
        for other in others:
            apart = difference(rendered.pixels(first), rendered.pixels(other))
            assert apart < 4.5
            assert (first["class"], first["longitude"]) == (other["class"], other["longitude"])
            if "copy" in other["frame"]:
                assert apart == 0.0
                copies += 1
            else:
                assert apart > 0.5
    assert copies == 54


def test_different_groups_are_different_views(rendered) -> None:
    """Tiles of one class but different groups differ by more than any two of one group."""
    by_class = defaultdict(dict)
    for row in rendered.rows:
        if float(row["nodata_share"]) == 0:
            by_class[row["class"]][row["group"]] = row
    rng = np.random.default_rng(0)
    for rows in by_class.values():
        tiles = list(rows.values())
        for _ in range(150):
            one, other = rng.choice(len(tiles), 2, replace=False)
            apart = difference(rendered.pixels(tiles[one]), rendered.pixels(tiles[other]))
            assert apart > 5.0, (tiles[one], tiles[other])
