"""The crown images: sites and plots by name, contradictory labels, the split by site."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from training.dataset import Labels, Pixels, Tiles, list_images, read_images
from training.shared_ground import Overlap, shared_ground
from training.splitting import Split, deal_groups, join_pairs

LABELS = ("Alive", "Dead")
SOURCE_SIDE = 128
UNSEEN_SHARE, CALIBRATION_SHARE, SEEN_SHARE = 0.25, 0.15, 0.10
# A crop's margin may well hold a neighbour; half of the smaller crop is no margin.
SAME_CROWN = 0.5

# OSBS_032_2018_2970: plot OSBS_032; 2018_ABBY_2_554000_5062000_image_13: a square kilometre.
_PLOT = re.compile(r"(?P<plot>(?P<site>[A-Z]{4})_\d+)_\d{4}_\d+")
_KILOMETRE = re.compile(r"(?P<plot>\d{4}_(?P<site>[A-Z]{4})_\d+_\d+_\d+)_image_\d+")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two images that say Alive and Dead of one thing.

    shared: the overlap as a share of the smaller image, 0 where only the names agree.
    """

    alive: str
    dead: str
    kind: str
    shared: float


@dataclass(frozen=True, slots=True)
class Crowns:
    """Usable images, (N,) site and plot of each, and what was left out and why."""

    tiles: Tiles
    sites: NDArray[np.str_]
    plots: NDArray[np.str_]
    conflicts: tuple[Conflict, ...]
    repeats: tuple[str, ...]
    neighbours: int  # overlapping pairs of different labels that stay in


def place(name: str) -> tuple[str, str]:
    """Site and plot of "class/file". Raises ValueError where the name tells none."""
    stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    found = _PLOT.fullmatch(stem) or _KILOMETRE.fullmatch(stem)
    if found is None:
        raise ValueError(f"{name}: no site in the name, such as OSBS in OSBS_032_2018_2970.png")
    return found["site"], found["plot"]


def _label(name: str) -> str:
    return name.split("/")[0]


def find_conflicts(names: Sequence[str], overlaps: Sequence[Overlap]) -> list[Conflict]:
    """Images under both labels: the same pixels, much the same ground, or the same file name."""
    found = {}
    by_file = defaultdict(list)
    for name in names:
        by_file[name.rsplit("/", 1)[-1]].append(name)
    for both in by_file.values():
        if len(both) > 1:
            alive, dead = sorted(both)
            found[alive, dead] = Conflict(alive, dead, "same name", 0.0)
    for overlap in overlaps:
        alive, dead = sorted((names[overlap.first], names[overlap.second]))
        if _label(alive) == _label(dead) or overlap.of_smaller < SAME_CROWN:
            continue
        kind = "same pixels" if overlap.whole else "same ground"
        found[alive, dead] = Conflict(alive, dead, kind, round(overlap.of_smaller, 3))
    return [found[pair] for pair in sorted(found)]


def find_repeats(names: Sequence[str], overlaps: Sequence[Overlap]) -> list[str]:
    """All but the first of each set of identical images under one label."""
    pairs = [
        (overlap.first, overlap.second)
        for overlap in overlaps
        if overlap.whole and _label(names[overlap.first]) == _label(names[overlap.second])
    ]
    roots = join_pairs(len(names), pairs)
    return [name for row, name in enumerate(names) if roots[row] != row]


def read_native(data: Path, names: Sequence[str]) -> list[Pixels]:
    """Each (H, W, 3) uint8 RGB at its own size."""
    images = []
    for name in names:
        with Image.open(data / name) as opened:
            images.append(np.asarray(opened.convert("RGB"), dtype=np.uint8))
    return images


def read_crowns(data: Path) -> Crowns:
    """The images of data/Alive and data/Dead without conflicts, each once.

    A tile's group is its plot, joined with any other that shows some of the same ground.
    """
    every = list_images(data, LABELS)
    overlaps = shared_ground(read_native(data, every))
    conflicts, repeats = find_conflicts(every, overlaps), find_repeats(every, overlaps)
    left_out = {*repeats, *(name for c in conflicts for name in (c.alive, c.dead))}
    names = [name for name in every if name not in left_out]
    rows = {name: row for row, name in enumerate(names)}
    pairs = [(every[o.first], every[o.second]) for o in overlaps]
    kept = [(one, other) for one, other in pairs if one in rows and other in rows]
    places = [place(name) for name in names]
    first: dict[str, int] = {}
    same_plot = [(first.setdefault(plot, row), row) for row, (_, plot) in enumerate(places)]
    groups = join_pairs(len(names), [*same_plot, *((rows[a], rows[b]) for a, b in kept)])
    labels: Labels = np.array([LABELS.index(_label(name)) for name in names], dtype=np.int64)
    return Crowns(
        Tiles(read_images(data, names, SOURCE_SIDE), labels, LABELS, groups, tuple(names)),
        np.array([site for site, _ in places]),
        np.array([plot for _, plot in places]),
        tuple(conflicts),
        tuple(repeats),
        sum(_label(one) != _label(other) for one, other in kept),
    )


def split_by_site(crowns: Crowns, seed: int) -> Split:
    """Test: whole sites that nothing else sees. The other parts: whole plots of the other sites.

    Every familiar site's largest plot trains, so that calibration and test_seen hold new plots of
    known sites only. No site makes up more than a third of the test part.
    """
    labels, groups = crowns.tiles.labels, crowns.tiles.groups
    test = deal_groups(labels, crowns.sites, UNSEEN_SHARE, seed, largest=1 / 3)
    rest = np.setdiff1d(np.arange(len(labels)), test)
    free = rest[~np.isin(groups[rest], _largest(crowns, rest))]
    parts = []
    for share in (CALIBRATION_SHARE, SEEN_SHARE):
        wanted = share * len(labels) / len(free)
        taken = free[deal_groups(labels[free], groups[free], wanted, seed, largest=1 / 3)]
        parts.append(taken)
        free = np.setdiff1d(free, taken)
    train = np.setdiff1d(rest, np.concatenate(parts))
    return Split(train, parts[0], test, {"test_seen": parts[1]})


def _largest(crowns: Crowns, rows: NDArray[np.int64]) -> list[int]:
    """The group with the most tiles of each site."""
    chosen = []
    for site in np.unique(crowns.sites[rows]):
        here = crowns.tiles.groups[rows[crowns.sites[rows] == site]]
        own, counts = np.unique(here, return_counts=True)
        chosen.append(int(own[counts.argmax()]))
    return chosen


def write_conflicts(folder: Path, conflicts: Sequence[Conflict]) -> None:
    """conflicts.csv: one row per pair, with the header also where there is none."""
    with (folder / "conflicts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["alive", "dead", "kind", "shared_of_smaller"])
        writer.writerows([c.alive, c.dead, c.kind, f"{c.shared:.3f}"] for c in conflicts)
