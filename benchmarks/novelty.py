"""How long the likeness check takes per tile, against a bare matrix product; prints JSON.

    python benchmarks/novelty.py [--leaders 4096] [--dimension 128] [--batch 64] [--rounds 200]

Bar: <= 60 us per tile in batches, against 4096 leaders of 128 numbers. On one thread, as beside a
model that has the other cores; OPENBLAS_NUM_THREADS says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded

import numpy as np

from edge_agent.novelty.leaders import Leaders, calibrated_epsilon


def microseconds(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Microseconds of each call, the works taking turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            times[name].append((time.perf_counter() - begin) * 1e6)
    return times


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--leaders", type=int, default=4096)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    shape = (options.leaders, options.dimension)
    vectors = rng.normal(size=shape).astype(np.float32)
    leaders = Leaders(options.dimension, options.leaders)
    for number, vector in enumerate(vectors):
        leaders.add(str(number), vector)
    batch = rng.normal(size=(options.batch, options.dimension)).astype(np.float32)
    # Every one added drives out the oldest, as in a long survey.
    added = iter(range(10**9))
    times = microseconds(
        {
            "check": lambda: leaders.distance_to_nearest(batch),
            "bare": lambda: (batch @ vectors.T).max(axis=1),
            "single": lambda: leaders.distance_to_nearest(batch[:1]),
            "add": lambda: leaders.add(f"new {next(added)}", batch[0]),
        },
        options.rounds,
    )
    calibrating = microseconds({"epsilon": lambda: calibrated_epsilon(vectors)}, 3)
    middle = {name: statistics.median(found) for name, found in (times | calibrating).items()}
    result = {
        "leaders": len(leaders),
        "dimension": options.dimension,
        "batch": options.batch,
        "check_us_per_tile": round(middle["check"] / options.batch, 2),
        "bare_product_us_per_tile": round(middle["bare"] / options.batch, 2),
        "check_to_bare": round(
            statistics.median(a / b for a, b in zip(times["check"], times["bare"], strict=True)), 2
        ),
        "single_tile_us": round(middle["single"], 1),
        "add_us": round(middle["add"], 1),
        "epsilon_of_all_ms": round(middle["epsilon"] / 1e3, 1),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
