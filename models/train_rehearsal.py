"""Trains models/rehearsal on rehearsal surveys that nobody else renders (see models/README.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from rehearsal_surveys import (
    Seen,
    calibrate_on_surveys,
    measure_on_surveys,
    survey_section,
    survey_tiles,
)
from training import bundle_writer as writer
from training.augmentation import Augmentation
from training.bundle_writer import BundleSpec
from training.dataset import Tiles
from training.evaluation import read_input
from training.fitting import TrainingConfig
from training.network import NetworkShape
from training.options import add_run_options, config_of
from training.recipe import train_bundle

from edge_agent.rehearsal.covers import GSD_M, LABELS, TILE_PX
from edge_agent.rehearsal.survey import SEEDS, SurveyOrder

SHAPE = NetworkShape(stem=16, widths=(24, 48, 80), depths=(1, 1, 1), embedding=64)
AUGMENTATION = Augmentation(
    smallest_crop=0.85,
    stretch=1.05,
    tilt_degrees=8.0,
    brightness=0.16,
    contrast=0.16,
    saturation=0.16,
    channel_gain=0.04,
    cutmix_share=0.3,
    mixup_share=0.0,
)
CONFIG = TrainingConfig(
    side=TILE_PX,
    epochs=16,
    batch=48,
    learning_rate=3e-3,
    warmup_epochs=1,
    label_smoothing=0.05,
    dropout=0.05,
    average_decay=0.995,
    threads=1,
    shape=SHAPE,
    augmentation=AUGMENTATION,
)


def pool(surveys: int, per_class: int, seed: int) -> Tiles:
    """At most `per_class` tiles of each class from each of many small surveys without novel things.

    The survey is the group: the split never parts it.
    """
    rng = np.random.default_rng(seed)
    chosen: list[Seen] = []
    groups: list[int] = []
    for number in range(surveys):
        order = SurveyOrder(SEEDS + number, 300, novel_share=0.0, rare_share=0.03)
        found = [tile for tile in survey_tiles(order, 1.0, rng) if not tile.repeated]
        taken = [0] * len(LABELS)
        for place in rng.permutation(len(found)):
            tile = found[place]
            if taken[tile.label] < per_class:
                taken[tile.label] += 1
                chosen.append(tile)
                groups.append(number)
    return Tiles(
        np.stack([tile.pixels for tile in chosen]),
        np.array([tile.label for tile in chosen], dtype=np.int64),
        LABELS,
        np.array(groups, dtype=np.int64),
        tuple(tile.name for tile in chosen),
    )


def rehearsal_spec() -> BundleSpec:
    """What the bundle says of itself."""
    return BundleSpec(
        name="rehearsal",
        version="1.0.0",
        gsd_m=GSD_M,
        training_data="Procedural tiles of `edge-agent rehearse`, seeds that the command refuses",
        licence="Apache-2.0, as the project; no outside data.",
        purpose=(
            "Names the ground of the rehearsal survey, so that a policy can be tried where the "
            "truth is known. A tile's class is the one with the most pixels, orchid from a quarter "
            "of the tile on."
        ),
        not_for=(
            "Real imagery of any kind: it has only seen drawn ground.",
            "Judging a score: what is easy to tell here may not be in the field, and the reverse.",
        ),
        data_notes=(
            "All tiles are drawn by the project itself; nothing was collected, nobody is shown.",
            (
                "Training, calibration and test tiles come from different seeds. None of them "
                "shows a novel thing, or even the edge of one."
            ),
        ),
        command="python models/train_rehearsal.py --out models/rehearsal",
    )


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line -> options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surveys", type=int, default=190, help="small surveys to draw tiles from")
    parser.add_argument("--per-class", type=int, default=4, help="tiles of a class from each")
    add_run_options(parser, CONFIG)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Render, train, calibrate, measure, and say what came out."""
    options = read_arguments(arguments)
    tiles = pool(options.surveys, options.per_class, options.seed)
    print(f"{len(tiles.images)} tiles drawn", flush=True)
    config = config_of(options, CONFIG)
    metrics = train_bundle(
        tiles,
        rehearsal_spec(),
        config,
        options.out,
        checkpoint=options.checkpoint,
        weights=options.weights,
        report=lambda line: print(line, flush=True),
    )
    given = read_input(options.out)
    figures = {"calibration": calibrate_on_surveys(options.out, given)}
    figures["test"] = measure_on_surveys(options.out, given)
    writer.write_metrics(options.out, {**metrics, "surveys": figures})
    with (options.out / "MODEL_CARD.md").open("a", encoding="utf-8") as card:
        card.write(survey_section(figures))
    print(f"{options.out}: {figures['test']}")


if __name__ == "__main__":
    main()
