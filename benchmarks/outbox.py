"""How fast the outbox is when it is long, against bare SQLite inserts; prints JSON.

    python benchmarks/outbox.py [--rows 100000] [--rounds 15]

One run interleaves, on the same disk: a batch into an empty database, the same batch into one
whose outbox holds `rows` samples, and bare inserts of the same payloads with the same durability.
Bars: the next samples for an offer (16 of about a kilobyte) in <= 0.2 ms, and a batch no slower
than into an empty outbox. One tile in ten of a batch is kept, as in flight, unless --kept says
otherwise.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_agent.domain import Finding, Frame, Judged, Position, Prediction, Reason, Tile, Verdict
from edge_agent.records import outbox
from edge_agent.records.batch import commit_batch
from edge_agent.records.database import Database, open_database
from edge_agent.records.ledger import begin_frame, open_survey
from edge_agent.records.values import Caps, FrameKey, FrameProgress, Survey

LABELS = tuple(f"class-{number}" for number in range(17))
BATCH = 64
CAPS = Caps(2**40)
FRAME = Frame("flight/DJI_0001.JPG", 4000, 3000, 0.03, None, None, "unknown", None)


class Filled:
    """A database and the way to put another batch into it."""

    def __init__(self, path: Path, payload: int) -> None:
        self.database: Database = open_database(path)
        self.survey: Survey = open_survey(
            self.database, "benchmark", "scenes@1", bytes(32), "policy",
            policy_settings="{}", labels=LABELS, boot=1, now=0.0,
        )  # fmt: skip
        self._payload = payload
        self._rng = np.random.default_rng(1)
        self._frames = 0

    def tiles(self, count: int, kept: float = 1.0) -> list[Judged]:
        """Tiles of random value, a share of them kept."""
        return [self._judged(row, row < round(count * kept)) for row in range(count)]

    def commit(self, tiles: list[Judged]) -> None:
        """One batch, as the filter commits it."""
        self._frames += 1
        key = FrameKey(f"frame-{self._frames}", 1, 1)
        row = begin_frame(self.database, self.survey.survey_id, key, FRAME, len(tiles), 0.0)
        begin = time.perf_counter()
        commit_batch(
            self.database,
            self.survey,
            [(row.frame_id, FRAME, tile) for tile in tiles],
            [FrameProgress(row.frame_id, len(tiles), True)],
            CAPS,
            0.0,
        )
        self.seconds = time.perf_counter() - begin

    def _judged(self, row: int, keep: bool) -> Judged:
        rng = self._rng
        scores = {n: float(rng.normal()) for n in ("msp", "max_logit", "entropy", "margin")}
        p_values = {name: float(rng.uniform(0.01, 1)) for name in scores}
        return Judged(
            tile=Tile(row, 0, 128, 128, np.zeros((1, 1, 3), np.uint8), 0.03, 0.0, Position(1, 2)),
            prediction=Prediction(
                rng.dirichlet(np.full(17, 0.1)),
                rng.normal(size=128).astype(np.float32),
                scores,
                p_values,
            ),
            findings=(Finding("quality", "ok", {"nodata_share": 0.0, "contrast": 31.7}),),
            quality=None,
            content_sha256=rng.bytes(32),
            perceptual_hash=int(rng.integers(2**63)),
            verdict=Verdict(keep, float(rng.uniform()), (Reason("score:entropy", p_values),)),
            payload=rng.bytes(self._payload) if keep else None,
            payload_type="image/jpeg" if keep else None,
        )


def bare(path: Path) -> sqlite3.Connection:
    """SQLite with the same durability and nothing else."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE sample (id INTEGER PRIMARY KEY, payload BLOB)")
    return connection


def insert(connection: sqlite3.Connection, tiles: list[Judged]) -> float:
    """Seconds for one transaction of bare inserts."""
    begin = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO sample (payload) VALUES (?)",
        [(tile.payload,) for tile in tiles if tile.payload],
    )
    connection.execute("COMMIT")
    return time.perf_counter() - begin


def milliseconds(work: Callable[[], object], repeats: int = 200) -> float:
    """Median of one call."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--payload", type=int, default=6000, help="bytes per sample")
    parser.add_argument("--kept", type=float, default=0.1, help="share of tiles kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        long = Filled(Path(folder, "long.db"), options.payload)
        for _ in range(0, options.rows, 1000):
            long.commit(long.tiles(1000))
        plain = bare(Path(folder, "bare.db"))
        seconds: dict[str, list[float]] = {"long": [], "empty": [], "bare": []}
        for number in range(options.rounds):
            tiles = long.tiles(BATCH, options.kept)
            empty = Filled(Path(folder, f"empty-{number}.db"), options.payload)
            empty.commit(tiles[:1])
            empty.commit(tiles)
            seconds["empty"].append(empty.seconds)
            empty.database.close()
            long.commit(tiles)
            seconds["long"].append(long.seconds)
            seconds["bare"].append(insert(plain, tiles))
        ids = [sample.sample_id for sample in outbox.next_samples(long.database, 64)]
        result = {
            "rows": outbox.statistics(long.database).waiting,
            "batch": BATCH,
            "payload_bytes": options.payload,
            "kept_share": options.kept,
            "batch_ms": {k: round(statistics.median(v) * 1e3, 3) for k, v in seconds.items()},
            "long_to_empty": ratio(seconds["long"], seconds["empty"]),
            "long_to_bare": ratio(seconds["long"], seconds["bare"]),
            "next_16_ms": milliseconds(lambda: outbox.next_samples(long.database, 16)),
            "next_64_ms": milliseconds(lambda: outbox.next_samples(long.database, 64)),
            "next_16_excluding_64_ms": milliseconds(
                lambda: outbox.next_samples(long.database, 16, ids)
            ),
            "payload_ms": milliseconds(lambda: outbox.payload(long.database, ids[0])),
            "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        long.database.close()
        plain.close()
    print(json.dumps(result, indent=2))


def ratio(one: list[float], other: list[float]) -> float:
    """Median over the rounds of the ratio within each round."""
    return round(statistics.median(a / b for a, b in zip(one, other, strict=True)), 3)


if __name__ == "__main__":
    main()
