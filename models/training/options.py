"""The flags that every training script has."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from training.fitting import TrainingConfig


def add_run_options(parser: argparse.ArgumentParser, base: TrainingConfig) -> None:
    """Flags of the run, with the recipe's values where they are not given."""
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to write")
    parser.add_argument("--epochs", type=int, default=base.epochs)
    parser.add_argument("--seed", type=int, default=base.seed, help="of the training")
    parser.add_argument("--split-seed", type=int, default=base.split_seed)
    parser.add_argument("--threads", type=int, default=base.threads)
    parser.add_argument("--float32", action="store_true", help="where bfloat16 is slow")
    parser.add_argument("--checkpoint", type=Path, help="keep the averaged weights here meanwhile")
    parser.add_argument(
        "--weights", type=Path, help="write the bundle from this checkpoint without training"
    )


def config_of(options: argparse.Namespace, base: TrainingConfig) -> TrainingConfig:
    """The recipe as the flags change it."""
    return replace(
        base,
        epochs=options.epochs,
        seed=options.seed,
        split_seed=options.split_seed,
        threads=options.threads,
        bfloat16=not options.float32,
    )
