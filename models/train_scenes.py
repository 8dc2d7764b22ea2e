"""Trains models/scenes-aerial from a folder of aerial scene classes (see models/README.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from training.bundle_writer import BundleSpec
from training.dataset import Tiles, class_folders, list_images, read_images
from training.fitting import TrainingConfig
from training.options import add_run_options, config_of
from training.recipe import train_bundle
from training.splitting import group_by_content

SOURCE_SIDE = 256
SOURCE_GSD_M = 0.3
WITHHELD = ("airplane", "golfcourse", "harbor", "storagetanks")


def scenes_spec(gsd_m: float, withheld: Sequence[str]) -> BundleSpec:
    """What the bundle says of itself."""
    unseen = ", ".join(withheld) or "none"
    return BundleSpec(
        name="scenes-aerial",
        version="1.0.0",
        gsd_m=gsd_m,
        training_data=(
            "UC Merced Land Use (Yang & Newsam 2010), 60 images of each class; withheld: " + unseen
        ),
        licence=(
            "Weights: Apache-2.0, as the project. Images: no licence stated by the copy used; "
            "cut from USGS National Map urban imagery, generally held to be public domain."
        ),
        purpose=(
            "Names the kind of scene in a nadir aerial tile. It is the model that tilesift is "
            "developed and shown with: good enough to have something to be unsure about."
        ),
        not_for=(
            "Decisions about people, property, land rights or safety.",
            "Counting or finding objects: it names the scene of a whole tile.",
            (
                "Oblique views, thermal or multispectral images, or ground resolutions far from "
                f"{gsd_m:g} m per pixel."
            ),
            (
                "Ground unlike towns, coasts and farmland of the United States: all training "
                "images come from there."
            ),
            (
                f"The classes withheld on purpose ({unseen}): it must call them something else, "
                "and tilesift is to notice."
            ),
        ),
        data_notes=(
            (
                "UC Merced Land Use: Y. Yang and S. Newsam, Bag-Of-Visual-Words and Spatial "
                "Extensions for Land-Use Classification, ACM SIGSPATIAL GIS 2010. 256 px images at "
                f"0.3 m, area-averaged here to {gsd_m:g} m per pixel."
            ),
            (
                "Taken as JPEG from github.com/siddhant3c/GNR638_Assignment3 at commit 96121448, "
                "which states no licence. The images were cut from USGS National Map urban area "
                "imagery, generally described as public domain. None of them is in this repository."
            ),
            (
                "Some images show overlapping ground, shifted against each other; those found were "
                "kept in one part. The set is small: read the intervals, not only the figures."
            ),
        ),
        command=(
            "python models/train_scenes.py --data ../shared/data/scenes_ucmerced "
            "--out models/scenes-aerial"
        ),
    )


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line -> options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder per class")
    parser.add_argument(
        "--withhold",
        action="append",
        metavar="CLASS",
        help=f"class to keep unseen; repeat for more (default: {', '.join(WITHHELD)})",
    )
    add_run_options(parser, TrainingConfig())
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, train, write, and say what came out."""
    options = read_arguments(arguments)
    withheld = tuple(options.withhold or WITHHELD)
    found = class_folders(options.data)
    if missing := sorted(set(withheld) - set(found)):
        raise SystemExit(f"no such class in {options.data}: {', '.join(missing)}")
    classes = tuple(name for name in found if name not in withheld)
    names = list_images(options.data, classes)
    images = read_images(options.data, names, SOURCE_SIDE)
    labels = np.array([classes.index(name.split("/")[0]) for name in names], dtype=np.int64)
    tiles = Tiles(images, labels, classes, group_by_content(images), tuple(names))
    unseen = {
        kind: read_images(options.data, list_images(options.data, [kind]), SOURCE_SIDE)
        for kind in withheld
    }
    config = config_of(options, TrainingConfig())
    metrics = train_bundle(
        tiles,
        scenes_spec(SOURCE_GSD_M * SOURCE_SIDE / config.side, withheld),
        config,
        options.out,
        unseen=unseen,
        checkpoint=options.checkpoint,
        weights=options.weights,
        report=lambda line: print(line, flush=True),
    )
    test = metrics["test"]
    print(f"{options.out}: {test['right']} of {test['tiles']} test tiles right")


if __name__ == "__main__":
    main()
