"""The split by content: what shows the same ground stays on one side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from training.dataset import Pixels, class_folders, list_images, read_images
from training.splitting import (
    Split,
    alike_by_hash,
    alike_by_shift,
    group_by_content,
    join_pairs,
    split_by_group,
)


def ground(seed: int, side: int = 512) -> Pixels:
    """(side, side, 3): patches of many sizes, unlike any other seed's."""
    generator = np.random.default_rng(seed)
    image = np.zeros((side, side, 3))
    for cells in (4, 16, 64):
        coarse = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        scaled = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        image += np.asarray(scaled, dtype=np.float64) / 3
    return image.round().astype(np.uint8)


def parts_of(split: Split, count: int) -> NDArray[np.int64]:
    part = np.full(count, -1)
    for number, rows in enumerate((split.train, split.calibration, split.test)):
        part[rows] = number
    return part


def assert_whole(part: NDArray[np.int64], groups: NDArray[np.int64]) -> None:
    for group in np.unique(groups):
        assert len(set(part[groups == group].tolist())) == 1


def test_copies_recoded_copies_and_shifted_crops_share_a_group() -> None:
    """An identical, a JPEG-coarsened and a shifted view join; another place stays apart."""
    wide = ground(1)
    here, shifted = wide[:256, :256], wide[40:296, 60:316]
    coarse = np.asarray(Image.fromarray(here).resize((64, 64)).resize((256, 256)))
    images = np.stack([here, here.copy(), coarse, shifted, ground(2)[:256, :256]])
    assert group_by_content(images).tolist() == [0, 0, 0, 0, 4]


def test_a_shifted_crop_is_found_by_its_shift_and_not_by_its_hash() -> None:
    """Why two signs are needed: the hash alone would let overlapping ground straddle."""
    wide = ground(3)
    images = np.stack([wide[:256, :256], wide[40:296, 60:316]])
    assert alike_by_hash(images, within=48) == []
    assert alike_by_shift(images, peak=0.25) == [(0, 1)]


def test_chains_of_alike_tiles_are_one_group() -> None:
    """Union-find joins through others: 0-3, 3-1 and apart from them 2-4."""
    assert join_pairs(6, [(3, 0), (1, 3), (4, 2)]).tolist() == [0, 0, 2, 0, 2, 5]


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=150),
    seed=st.integers(0, 5),
)
def test_no_group_straddles_whatever_the_groups(data: list[tuple[int, int]], seed: int) -> None:
    """Any labels, any groups: every row in one part, every group whole, no part above its share."""
    labels = np.array([label for label, _ in data], dtype=np.int64)
    groups = np.array([group for _, group in data], dtype=np.int64)
    split = split_by_group(labels, groups, seed)
    part = parts_of(split, len(labels))
    everything = np.concatenate([split.train, split.calibration, split.test])
    assert sorted(everything.tolist()) == list(range(len(labels)))
    assert_whole(part, groups)
    again = split_by_group(labels, groups, seed)
    assert part.tolist() == parts_of(again, len(labels)).tolist()


def test_single_tiles_are_dealt_by_exact_shares() -> None:
    """60 tiles a class, each its own group: 12 to test, 7 to calibration, 41 to train."""
    labels = np.repeat(np.arange(3), 60)
    split = split_by_group(labels, np.arange(180), seed=4)
    for rows, wanted in ((split.test, 12), (split.calibration, 7), (split.train, 41)):
        assert np.bincount(labels[rows]).tolist() == [wanted] * 3
    other = split_by_group(labels, np.arange(180), seed=5)
    assert split.test.tolist() != other.test.tolist()


def test_a_group_too_large_for_its_share_goes_to_train() -> None:
    """Eleven alike of twenty fit neither test (4) nor calibration (2)."""
    labels = np.zeros(20, dtype=np.int64)
    groups = np.array([0] * 11 + list(range(11, 20)))
    split = split_by_group(labels, groups, seed=0)
    assert set(range(11)) <= set(split.train.tolist())
    assert len(split.test) == 4
    assert len(split.calibration) == 2


def test_byte_identical_real_images_never_straddle(shared_data: Path) -> None:
    """airplane01 and airplane02 are the same file: one group, one part, for every seed tried."""
    data = shared_data / "scenes_ucmerced"
    if not data.is_dir():
        pytest.skip(f"no scenes in {shared_data}")
    assert "airplane" in class_folders(data)
    names = list_images(data, ["airplane"])
    first, second = (names.index(f"airplane/airplane0{number}.jpg") for number in (1, 2))
    assert (data / names[first]).read_bytes() == (data / names[second]).read_bytes()
    groups = group_by_content(read_images(data, names, 256))
    assert groups[first] == groups[second]
    labels = np.zeros(len(names), dtype=np.int64)
    for seed in range(20):
        assert_whole(parts_of(split_by_group(labels, groups, seed), len(names)), groups)
