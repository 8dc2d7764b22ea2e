"""What the scores cost per tile, against the bare product that each kind needs; prints JSON.

    python benchmarks/scoring.py [--classes 10] [--depth 128] [--bank 4096] [--rounds 60]

Batches of 64 tiles on one core. Every round times each score alone, all logit scores together,
all feature scores together, and the least that either could cost: a softmax in plain numpy, and
`features @ bank.T` in single precision. The time is the processor's, so that what else runs on the
machine counts little. Figures are medians over the rounds, with the quietest round beside them,
ratios medians of the ratios within each round. Bars: 10 us per tile for all logit scores, 60 us
for all feature scores (at 10 classes, D = 128, a bank of 4096).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from edge_agent.domain import Outputs
from edge_agent.scoring.ensembles import ensemble_entropy, ensemble_mutual_information
from edge_agent.scoring.fdbd import fdbd
from edge_agent.scoring.logits import LOGIT_SCORES, logit_scores
from edge_agent.scoring.mahalanobis import mahalanobis_pp, rmds_pp
from edge_agent.scoring.neighbours import knn
from edge_agent.scoring.references import Head, References, ScoreOptions, fit_references, raw_scores
from edge_agent.scoring.vim import vim

BATCH = 64
MEMBERS = 4
BUDGET_US = {"all_logit_scores": 10.0, "all_feature_scores": 60.0}
BARE = {"all_logit_scores": "bare_softmax", "all_feature_scores": "bare_product"}
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
Work = Callable[[], object]


def made_up(classes: int, depth: int, bank: int) -> tuple[References, Outputs]:
    """References fitted on random features in clusters, and a batch of the same kind."""
    rng = np.random.default_rng(1)
    head = Head(rng.normal(size=(classes, depth)), rng.normal(size=classes))

    def features(rows: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, classes, rows)
        around = head.weight[labels] + rng.normal(size=(rows, depth))
        return np.maximum(around, 0.0).astype(np.float32), labels

    options = ScoreOptions(bank_size=bank)
    references = fit_references(*features(max(bank, 2 * depth)), head, options)
    batch, _ = features(BATCH)
    logits = (batch @ head.weight.T + head.bias).astype(np.float32)
    members = logits + rng.normal(size=(MEMBERS, *logits.shape)).astype(np.float32)
    return references, Outputs(logits, batch, members)


def works(references: References, outputs: Outputs) -> dict[str, Work]:
    """What is timed, by name."""
    logits, features, members = outputs.logits, outputs.features, outputs.member_logits
    gaussians, bank = references.mahalanobis, references.neighbours
    null_space, boundaries = references.vim, references.fdbd
    assert features is not None
    assert members is not None
    assert gaussians is not None
    assert bank is not None
    assert null_space is not None
    assert boundaries is not None
    options = ScoreOptions()
    both = Outputs(logits, features)
    singles = bank.unit.astype(np.float32)
    return {
        "bare_softmax": lambda: plain_softmax(logits),
        "bare_product": lambda: features @ singles.T,
        **{name: partial(score, logits) for name, score in LOGIT_SCORES.items()},
        "mahalanobis_pp": lambda: mahalanobis_pp(features, gaussians),
        "rmds_pp": lambda: rmds_pp(features, gaussians),
        "knn": lambda: knn(features, bank, options.neighbours),
        "vim": lambda: vim(features, logits, null_space),
        "fdbd": lambda: fdbd(features, logits, boundaries),
        "ensemble_entropy": lambda: ensemble_entropy(members),
        "ensemble_mutual_information": lambda: ensemble_mutual_information(members),
        "all_logit_scores": lambda: logit_scores(logits),
        # Together with the logit scores, which vim and fdbd share; those are taken off again.
        "all_but_ensembles": lambda: raw_scores(both, references, options),
        "all": lambda: raw_scores(outputs, references, options),
    }


def plain_softmax(logits: np.ndarray) -> np.ndarray:
    """As short as it can be written."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def measure(timed: dict[str, Work], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Microseconds per tile in each round, one work after the other within a round."""
    found: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, work in timed.items():
            begin = time.process_time()
            for _ in range(repeats):
                work()
            if number:  # the first round warms up
                found[name].append((time.process_time() - begin) / repeats / BATCH * 1e6)
    found["all_feature_scores"] = [
        both - logits
        for both, logits in zip(found["all_but_ensembles"], found["all_logit_scores"], strict=True)
    ]
    return found


def ratio(one: list[float], other: list[float]) -> float:
    """Median over the rounds of the ratio within each round."""
    return round(statistics.median(a / b for a, b in zip(one, other, strict=True)), 2)


def main() -> None:
    """Fit, measure, print."""
    if any(os.environ.get(name) != value for name, value in ONE_CORE.items()):
        # The number of threads is read when numpy is loaded, so start again with one.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_CORE)  # noqa: S606 our own command line
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--depth", type=int, default=128)
    parser.add_argument("--bank", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5, help="calls in a row within a round")
    chosen = parser.parse_args()
    references, outputs = made_up(chosen.classes, chosen.depth, chosen.bank)
    found = measure(works(references, outputs), chosen.rounds, chosen.repeats)
    medians = {name: statistics.median(times) for name, times in found.items()}
    result = {
        "batch": BATCH,
        "classes": chosen.classes,
        "depth": chosen.depth,
        "bank": chosen.bank,
        "members": MEMBERS,
        "rounds": chosen.rounds,
        "us_per_tile": {name: round(value, 3) for name, value in medians.items()},
        "us_per_tile_quietest": {name: round(min(times), 3) for name, times in found.items()},
        "times_the_bare": {name: ratio(found[name], found[bare]) for name, bare in BARE.items()},
        "budget_us_per_tile": BUDGET_US,
        "within_budget": {name: medians[name] <= bar for name, bar in BUDGET_US.items()},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
