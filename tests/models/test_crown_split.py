"""Sites, contradictory labels and the split by site, on small sets made for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from crown_images import (
    Crowns,
    find_conflicts,
    find_repeats,
    place,
    read_crowns,
    read_native,
    split_by_site,
    write_conflicts,
)
from PIL import Image
from training.shared_ground import shared_ground
from training.splitting import deal_groups


def test_site_and_plot_by_name() -> None:
    """Both kinds of names; the plot of one kind is the same in every year."""
    assert place("Alive/OSBS_032_2018_2970.png") == ("OSBS", "OSBS_032")
    assert place("Dead/OSBS_032_2020_7.png") == ("OSBS", "OSBS_032")
    name = "Alive/2018_ABBY_2_554000_5062000_image_13.png"
    assert place(name) == ("ABBY", "2018_ABBY_2_554000_5062000")
    with pytest.raises(ValueError, match=r"crown7\.png: no site"):
        place("Alive/crown7.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with every kind of trouble, cut from one noise raster."""
    ground = np.random.default_rng(8).integers(0, 256, (200, 400, 3), dtype=np.uint8)
    boxes = {
        "Alive/AAAA_001_2018_1.png": (0, 0, 40, 40),
        "Dead/AAAA_001_2018_2.png": (0, 0, 40, 40),  # the same image
        "Alive/AAAA_001_2018_3.png": (60, 0, 40, 40),
        "Dead/AAAA_001_2018_4.png": (60, 15, 60, 60),  # more than half of it
        "Alive/AAAA_002_2018_5.png": (130, 0, 40, 40),
        "Dead/AAAA_003_2018_6.png": (130, 30, 40, 40),  # a neighbour in the margin
        "Alive/BBBB_001_2018_7.png": (0, 100, 30, 30),
        "Dead/BBBB_001_2018_7.png": (0, 150, 30, 30),  # other ground, one name
        "Alive/BBBB_001_2018_8.png": (0, 200, 30, 30),
        "Alive/BBBB_001_2018_9.png": (0, 200, 30, 30),  # twice
        "Dead/CCCC_001_2018_1.png": (100, 200, 50, 50),
    }
    for name, (top, left, height, width) in boxes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(ground[top : top + height, left : left + width]).save(tmp_path / name)
    return tmp_path


def test_conflicts_and_repeats_are_left_out(folder: Path) -> None:
    """Three kinds of conflict, one repeat; neighbours stay, and in one group."""
    crowns = read_crowns(folder)
    assert [(c.alive[6:], c.dead[5:], c.kind, c.shared) for c in crowns.conflicts] == [
        ("AAAA_001_2018_1.png", "AAAA_001_2018_2.png", "same pixels", 1.0),
        ("AAAA_001_2018_3.png", "AAAA_001_2018_4.png", "same ground", 0.625),
        ("BBBB_001_2018_7.png", "BBBB_001_2018_7.png", "same name", 0.0),
    ]
    assert crowns.repeats == ("Alive/BBBB_001_2018_9.png",)
    assert crowns.tiles.names == (
        "Alive/AAAA_002_2018_5.png",
        "Alive/BBBB_001_2018_8.png",
        "Dead/AAAA_003_2018_6.png",
        "Dead/CCCC_001_2018_1.png",
    )
    assert crowns.neighbours == 1
    assert crowns.tiles.groups.tolist() == [0, 1, 0, 3]
    assert crowns.sites.tolist() == ["AAAA", "BBBB", "AAAA", "CCCC"]


def test_conflicts_are_written_also_where_there_are_none(folder: Path) -> None:
    """conflicts.csv has a row per pair, and its header in any case."""
    crowns = read_crowns(folder)
    write_conflicts(folder, crowns.conflicts)
    lines = (folder / "conflicts.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "alive,dead,kind,shared_of_smaller"
    assert lines[2].endswith(",same ground,0.625")
    assert len(lines) == 4
    write_conflicts(folder, [])
    assert len((folder / "conflicts.csv").read_text(encoding="utf-8").splitlines()) == 1


def test_three_copies_leave_one(folder: Path) -> None:
    """Of identical images under one label the first by name stays."""
    names = [f"Alive/BBBB_001_2018_{number}.png" for number in (8, 9, 8)]
    overlaps = shared_ground(read_native(folder, names))
    assert find_repeats(names, overlaps) == names[1:]
    assert find_conflicts(["Alive/a.png", "Dead/b.png"], []) == []


def some_crowns(seed: int) -> Crowns:
    """Twelve sites of one to five plots, labels uneven within a site."""
    from training.dataset import Tiles

    rng = np.random.default_rng(seed)
    rows = [
        (f"S{site:03}", f"S{site:03}_{plot}", int(rng.random() < 0.2 + 0.05 * site))
        for site in range(12)
        for plot in range(1 + site % 5)
        for _ in range(rng.integers(2, 20))
    ]
    plots = np.array([plot for _, plot, _ in rows])
    tiles = Tiles(
        np.zeros((len(rows), 1, 1, 3), dtype=np.uint8),
        np.array([label for _, _, label in rows]),
        ("Alive", "Dead"),
        np.unique(plots, return_inverse=True)[1],
        tuple(str(row) for row in range(len(rows))),
    )
    return Crowns(tiles, np.array([site for site, _, _ in rows]), plots, (), (), 0)


@pytest.mark.parametrize("seed", range(8))
def test_parts_share_neither_unseen_sites_nor_plots(seed: int) -> None:
    """All tiles dealt once; test sites nowhere else; plots whole; known sites all train."""
    crowns = some_crowns(seed)
    split = split_by_site(crowns, seed)
    parts = split.parts()
    every = np.sort(np.concatenate(list(parts.values())))
    assert every.tolist() == list(range(len(crowns.sites)))
    sites = {name: set(crowns.sites[rows]) for name, rows in parts.items()}
    plots = {name: set(crowns.plots[rows]) for name, rows in parts.items()}
    others = {"train", "calibration", "test_seen"}
    assert not sites["test"] & set().union(*(sites[name] for name in others))
    assert sites["calibration"] | sites["test_seen"] <= sites["train"]
    assert sum(len(found) for found in plots.values()) == len(set().union(*plots.values()))
    assert len(parts["test"]) == pytest.approx(0.25 * len(every), rel=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_a_deal_is_whole_balanced_and_repeats(seed: int) -> None:
    """Whole groups, near the share, near the proportions, no group too large; same seed, same."""
    rng = np.random.default_rng(100 + seed)
    groups = rng.integers(0, 40, 600)
    labels = (rng.random(600) < 0.3 + 0.01 * groups).astype(np.int64)
    groups[:150] = 99  # one group is a quarter of all
    rows = deal_groups(labels, groups, 0.3, seed, largest=0.5)
    assert not set(groups[rows]) & set(np.delete(groups, rows))
    assert 99 not in groups[rows]
    assert len(rows) == pytest.approx(180, abs=9)
    assert labels[rows].mean() == pytest.approx(labels.mean(), abs=0.03)
    assert np.array_equal(rows, deal_groups(labels, groups, 0.3, seed, largest=0.5))


def test_nothing_is_dealt_where_every_group_is_too_large() -> None:
    """Two halves, neither within a tenth: the part stays empty rather than wrong."""
    groups = np.repeat([0, 1], 50)
    assert len(deal_groups(groups, groups, 0.1, 1)) == 0
