"""A process that records batches until it is killed: DATABASE SEED OUTBOX_CAP."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import building

from edge_agent.records.database import open_database
from edge_agent.records.ledger import frame_state
from edge_agent.records.values import Caps, FrameKey

TILES = 60
BATCH = 12


def main(path: str, seed: int, cap: int) -> None:
    """Go on with the first frame that is not finished, as the filter does."""
    with open_database(path) as database:
        survey = building.survey(database)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for number in range(1000):
            name = f"frame-{number}"
            row = frame_state(database, survey.survey_id, FrameKey(name, len(name), 7))
            if row is not None and row.finished:
                continue
            tiles = building.random_tiles(random.Random(seed + number), 0, TILES)
            done = row.tiles_done if row is not None else 0
            while done < TILES:
                batch = tiles[done : done + BATCH]
                done += len(batch)
                building.commit(
                    database,
                    survey,
                    batch,
                    name=name,
                    caps=Caps(cap, 0, 60_000),
                    finished=done == TILES,
                    tile_count=TILES,
                )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
