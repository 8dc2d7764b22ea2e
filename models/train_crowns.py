"""Trains models/crown-health from a folder of crown images (see models/README.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from crown_card import crown_sections
from crown_figures import crown_figures, far_imagery
from crown_images import Crowns, read_crowns, split_by_site, write_conflicts
from training import bundle_writer as writer
from training.augmentation import Augmentation
from training.bundle_writer import BundleSpec
from training.evaluation import read_calibration, read_input
from training.fitting import TrainingConfig
from training.network import NetworkShape
from training.options import add_run_options, config_of
from training.recipe import train_bundle

GSD_M = 0.1
CONFIG = TrainingConfig(
    side=64,
    epochs=150,
    batch=32,
    learning_rate=2e-3,
    weight_decay=0.05,
    warmup_epochs=3,
    average_decay=0.995,
    threads=1,
    shape=NetworkShape(stem=24, widths=(32, 64, 96), depths=(1, 1, 1), embedding=64),
    # A dead crown is told by its colour and its texture: both may stray only so far.
    augmentation=Augmentation(
        smallest_crop=0.5,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        cutmix_share=0.3,
        mixup_share=0.3,
    ),
)


def crowns_spec(crowns: Crowns) -> BundleSpec:
    """What the bundle says of itself."""
    return BundleSpec(
        name="crown-health",
        version="1.0.0",
        gsd_m=GSD_M,
        training_data=(
            "Crowns of NEON sites from weecology/DeepTreeAttention (Weinstein et al.), "
            f"{len(crowns.tiles.names)} images of Alive and Dead"
        ),
        licence=(
            "Weights: Apache-2.0, as the project. Images: MIT, as the repository they come from."
        ),
        purpose=(
            "Tells whether a tree crown, cut out of nadir RGB imagery, is alive or dead. Its "
            "figures are of sites that it never saw: whoever flies somewhere new gets these, not "
            "those of the ground it was trained on."
        ),
        not_for=(
            "Felling, insurance or any other decision about single trees.",
            "Finding crowns: it names a crop that holds one, and names anything else just as well.",
            "Leafless but living trees, or leaf-off seasons: a bare crown looks dead to it.",
            "Ground resolutions far from 0.1 m per pixel, oblique views, infrared images.",
        ),
        data_notes=(
            (
                "Images: github.com/weecology/DeepTreeAttention at commit cae13f1e, "
                "data/raw/dead_train and dead_test (MIT), cut from RGB imagery of the National "
                "Ecological Observatory Network (NEON). None of them is in this repository."
            ),
            (
                "Crops of 22 to 182 px at about 0.1 m, one crown each, resampled to 64 px: small "
                "crowns are enlarged, large ones reduced."
            ),
            (
                "Half of each label, but hardly within a site. Alive takes in silvery living "
                "conifers and shrubs of dry ground, which look much like dead crowns from above."
            ),
        ),
        command=(
            "python models/train_crowns.py --data ../shared/data/crowns_neon "
            "--far ../shared/data --out models/crown-health"
        ),
        split_note=(
            "by site and plot: whole sites go to test, whole plots of the other sites to the "
            "other parts"
        ),
    )


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line -> options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with Alive and Dead")
    parser.add_argument("--far", type=Path, required=True, help="folder with the far imagery")
    add_run_options(parser, CONFIG)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, train, write, measure, and say what came out."""
    options = read_arguments(arguments)
    far = far_imagery(options.far, CONFIG.side)
    crowns = read_crowns(options.data)
    split = split_by_site(crowns, options.split_seed)
    config = config_of(options, CONFIG)
    metrics = train_bundle(
        crowns.tiles,
        crowns_spec(crowns),
        config,
        options.out,
        split=split,
        checkpoint=options.checkpoint,
        weights=options.weights,
        report=lambda line: print(line, flush=True),
    )
    write_conflicts(options.out, crowns.conflicts)
    calibration = read_calibration(options.out)
    given = read_input(options.out)
    figures = crown_figures(crowns, split, options.out / "model.onnx", given, calibration, far)
    writer.write_metrics(options.out, {**metrics, "crowns": figures})
    with (options.out / "MODEL_CARD.md").open("a", encoding="utf-8") as card:
        card.write(crown_sections(figures))
    print(f"{options.out}: {metrics['test']['right']} of {metrics['test']['tiles']} right on test")


if __name__ == "__main__":
    main()
