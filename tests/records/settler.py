"""A process that sends and settles what waits, as sync does, until it is killed: DATABASE SEED."""

from __future__ import annotations

import random
import sys
import time

from edge_agent.records import outbox
from edge_agent.records.database import open_database
from sync_protocol.messages import Outcome, Settlement

OUTCOMES: list[Outcome] = ["stored", "duplicate", "skipped", "rejected", "unsupported"]


def main(path: str, seed: int) -> None:
    """Attempts first, then what base might answer, then sometimes the same answer again."""
    rng = random.Random(seed)
    with open_database(path) as database:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ids = [sample.sample_id for sample in outbox.next_samples(database, 8)]
            if not ids:
                time.sleep(0.005)
                continue
            outbox.record_attempt(database, ids, time.time())
            settled = [
                Settlement(sample_id=sample_id, outcome=rng.choice(OUTCOMES))
                for sample_id in ids[: rng.randint(1, 8)]
            ]
            for _ in range(rng.randint(1, 2)):
                outbox.settle(database, settled, time.time())
            if rng.random() < 0.1:
                outbox.quarantine(database, ids[-1], "tried in vain")
            if rng.random() < 0.05:
                outbox.retry(database, ids[-1:])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
