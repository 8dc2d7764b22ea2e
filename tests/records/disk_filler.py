"""A process that records more than its disk holds and reports what is left: DATABASE."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import building

from edge_agent.records import outbox
from edge_agent.records.database import open_database

BATCHES, KEPT, SIZE = 250, 6, 75_000


def main(path: str) -> None:
    """Batches of kept and skipped tiles, with no cap but the disk."""
    rng = random.Random(1)
    values: dict[int, float] = {}
    evicted = 0
    with open_database(path) as database:
        survey = building.survey(database)
        for batch in range(BATCHES):
            tiles = [
                building.judged(batch * 20 + n, keep=n < KEPT, value=rng.random(), size=SIZE)
                for n in range(20)
            ]
            values |= {t.tile.row: t.verdict.value for t in tiles if t.verdict.keep}
            evicted += len(building.commit(database, survey, tiles).evicted)
        waiting = {s.description.row for s in outbox.next_samples(database, 10_000)}
        best = set(sorted(values, key=lambda row: -values[row])[: len(waiting)])
        report = {
            # Forgotten rows of skipped tiles leave progress and verdict counters as they were.
            "problems": [
                problem
                for problem in building.problems(database.connection)
                if not problem.startswith(("frame ", "counters "))
            ],
            "offered_bytes": len(values) * SIZE,
            "waiting_bytes": len(waiting) * SIZE,
            "evicted": evicted,
            "waiting_of_the_best": len(waiting & best) / max(len(waiting), 1),
        }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
