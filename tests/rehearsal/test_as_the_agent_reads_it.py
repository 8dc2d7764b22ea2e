"""The survey through the agent's own imagery: its tiles are truth's rows."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from edge_agent.imagery.frames import TilePlan, find_frame_files, open_frame
from edge_agent.rehearsal.covers import GSD_M


def test_agent_cuts_the_tiles_that_truth_tells_of(rendered) -> None:
    """Frame names, windows, pixels and nodata of the agent's tiles are those of truth.csv, and its
    positions are within 10 cm."""
    rows = defaultdict(dict)
    for row in rendered.rows:
        rows[row["frame"]][int(row["row"]), int(row["column"])] = row
    metres = np.array([111_200 * np.cos(np.radians(48.2)), 111_200])
    seen = 0
    for file in find_frame_files(rendered.root):
        with open_frame(file, TilePlan((128, 128), GSD_M)) as opened:
            assert opened.frame.gsd_m == pytest.approx(GSD_M, rel=1e-3)
            assert opened.tile_count == len(rows[file.name])
            for tile in opened.tiles():
                row = rows[file.name][tile.row, tile.column]
                assert (tile.height, tile.width) == (128, 128)
                assert tile.nodata_share == pytest.approx(float(row["nodata_share"]), abs=1e-3)
                assert np.array_equal(tile.pixels, rendered.pixels(row))
                assert tile.position is not None
                apart = np.array(
                    [
                        tile.position.longitude - float(row["longitude"]),
                        tile.position.latitude - float(row["latitude"]),
                    ]
                )
                assert np.hypot(*(apart * metres)) < 0.1
                seen += 1
    assert seen == len(rendered.rows)
