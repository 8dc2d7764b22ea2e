"""A process whose database is damaged on a disk with little room left: DATABASE.

Reports what it saved, that it starts a second time, and that it can go on recording.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import building

from edge_agent.records import outbox
from edge_agent.records.database import open_database
from edge_agent.records.ledger import last_events

SAMPLES, SIZE = 150, 75_000
LEFT = 9 * 1024 * 1024


def main(path: str) -> None:
    """Record, damage the file, fill the disk but for `LEFT` bytes, and start twice."""
    file = Path(path)
    with open_database(file) as database:
        survey = building.survey(database)
        for row in range(SAMPLES):
            tile = building.judged(row, value=(row * 61 % SAMPLES) / SAMPLES, size=SIZE)
            building.commit(database, survey, [tile])
    with sqlite3.connect(file) as connection:
        query = "SELECT pageno FROM dbstat WHERE name = 'event'"
        (page,) = connection.execute(query).fetchone()
    connection.close()
    building.damaged(file, (page - 1) * 4096, b"\xff" * 4096)
    free = shutil.disk_usage(file.parent).free
    file.with_name("ballast").write_bytes(bytes(max(free - LEFT, 0)))
    report: list[dict[str, object]] = []
    for start in range(2):
        with open_database(file) as database:
            saved = [s.description.row for s in outbox.next_samples(database, 999)]
            best = sorted(range(SAMPLES), key=lambda row: -(row * 61 % SAMPLES))[: len(saved)]
            survey = building.survey(database)
            skipped = [building.judged(1000 + 50 * start + n, keep=False) for n in range(50)]
            report.append(
                {
                    "saved": len(saved),
                    "the best": saved == best,
                    "recorded": building.commit(database, survey, skipped, name="next").recorded,
                    "events": [e.message for e in last_events(database) if e.kind == "corrupt"],
                    "problems": [
                        problem
                        for problem in building.problems(database.connection)
                        # Judged anew; and old verdicts may have made room.
                        if not problem.startswith(("frame ", "counters "))
                    ],
                    "kept aside": file.with_name(file.name + ".corrupt-1").exists(),
                }
            )
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
