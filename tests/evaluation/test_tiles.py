"""An image becomes the very tile that a reference gives, upright, cropped and averaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from edge_agent.evaluation.content import content_groups
from edge_agent.evaluation.listing import Entry, list_set, parse_source
from edge_agent.evaluation.looking import signs_of
from edge_agent.evaluation.tiles import SetTile, Unreadable, centre_window, read_one, read_tiles
from edge_agent.imagery.files import FrameFile
from edge_agent.imagery.frames import TilePlan
from edge_agent.imagery.tiling import Window
from edge_agent.rules.quality import QualitySettings

pytestmark = pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning"  # these rasters are nowhere on purpose
)
Paint = Callable[..., Path]
PLAN = TilePlan((32, 32), 0.1)


def entry_of(path: Path) -> Entry:
    """An image by itself."""
    return Entry(FrameFile(path, path.name, path.stat().st_size, 0), None, None)


def read(
    *paths: Path, frames: QualitySettings | None = None
) -> tuple[list[SetTile], list[Unreadable]]:
    """Tiles of images, and what could not be read."""
    bad: list[Unreadable] = []
    entries = [entry_of(path) for path in paths]
    return list(read_tiles(entries, PLAN, frames=frames, unreadable=bad.append)), bad


def picture(height: int, width: int, seed: int = 1) -> np.ndarray:
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("side", [32, 64, 96])
def test_a_square_image_is_averaged_whole(tmp_path: Path, side: int) -> None:
    """Each pixel of the tile is the mean of the block it covers, rounded half up."""
    pixels = picture(side, side)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    (tile,), _ = read(tmp_path / "1.png")
    block = side // 32
    means = pixels.reshape(32, block, 32, block, 3).astype(float).mean(axis=(1, 3))
    assert np.array_equal(tile.pixels, np.floor(means + 0.5).astype(np.uint8))


@pytest.mark.parametrize(("height", "width"), [(64, 100), (101, 64)])
def test_another_ratio_gives_the_centre_square(tmp_path: Path, height: int, width: int) -> None:
    """The sides of a long image do not reach the tile."""
    pixels = picture(height, width)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    top, left = (height - 64) // 2, (width - 64) // 2
    middle = pixels[top : top + 64, left : left + 64]
    Image.fromarray(middle).save(tmp_path / "2.png")
    (whole, cropped), _ = read(tmp_path / "1.png", tmp_path / "2.png")
    assert np.array_equal(whole.pixels, cropped.pixels)


def test_centre_windows_by_hand() -> None:
    """Square and wide inputs, on wide, high and tiny images."""
    assert centre_window(100, 60, (32, 32)) == Window(20, 0, 60, 60)
    assert centre_window(60, 101, (32, 32)) == Window(0, 20, 60, 60)
    assert centre_window(100, 100, (32, 64)) == Window(25, 0, 50, 100)
    assert centre_window(20, 400, (64, 32)) == Window(0, 195, 20, 10)


def test_orientation_alpha_and_formats(tmp_path: Path) -> None:
    """EXIF turns are applied; WebP and GeoTIFF give what PNG gives; transparent pixels are 0."""
    pixels = picture(64, 64)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[274] = 6  # stored lying on its side
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "same.webp", lossless=True)
    with rasterio.open(
        tmp_path / "same.tif", "w", driver="GTiff", height=64, width=64, count=3, dtype="uint8",
        photometric="RGB",
    ) as raster:  # fmt: skip
        raster.write(pixels.transpose(2, 0, 1))
    names = ("plain.png", "turned.png", "same.webp", "same.tif")
    tiles, bad = read(*(tmp_path / name for name in names))
    assert not bad
    assert all(np.array_equal(tile.pixels, tiles[0].pixels) for tile in tiles)
    clear = np.dstack([pixels, np.zeros((64, 64), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    (tile,), _ = read(tmp_path / "clear.png")
    assert not tile.pixels.any()


def test_bad_images_are_named_and_the_rest_goes_on(tmp_path: Path, paint: Paint) -> None:
    """Missing, empty, truncated, no image, too small: each says why, the good one is read."""
    good = paint(tmp_path / "good.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not an image", encoding="utf-8")
    whole = paint(tmp_path / "whole.png", size=(300, 300)).read_bytes()
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    paint(tmp_path / "small.png", size=(15, 40))
    names = ("empty.png", "text.jpg", "short.png", "small.png")
    gone = Entry(FrameFile(tmp_path / "gone.png", "gone.png", 0, 0), None, None)
    bad: list[Unreadable] = []
    entries = [gone, *(entry_of(tmp_path / name) for name in names), entry_of(good)]
    tiles = list(read_tiles(entries, PLAN, frames=None, unreadable=bad.append))
    assert [tile.name for tile in tiles] == ["good.png"]
    assert [one.name for one in bad] == ["gone.png", *names]
    reasons = [one.why.split(":")[0] for one in bad]
    assert reasons == ["unreadable", "empty", "not-an-image", "truncated", "too-small"]


def test_frames_are_cut_as_the_filter_cuts_them(tmp_path: Path) -> None:
    """64 x 96 pixels are six tiles, named by their place, and each can be read again."""
    pixels = picture(64, 96)
    Image.fromarray(pixels).save(tmp_path / "f.png")
    tiles, _ = read(tmp_path / "f.png", frames=QualitySettings())
    assert [tile.name for tile in tiles] == [
        f"f.png@{row},{column}" for row in (0, 32) for column in (0, 32, 64)
    ]
    assert np.array_equal(tiles[4].pixels, pixels[32:64, 32:64])
    again = read_one(tiles[4].entry, PLAN, tiles[4].index, frames=True)
    assert np.array_equal(again, tiles[4].pixels)


def test_tiles_without_ground_are_left_out(tmp_path: Path) -> None:
    """An orthomosaic's empty corner is no tile, and numbers still name the right ones."""
    pixels = np.concatenate([picture(32, 96).transpose(2, 0, 1), np.full((1, 32, 96), 255, "u1")])
    pixels[:, :, :32] = 0
    with rasterio.open(
        tmp_path / "m.tif", "w", driver="GTiff", height=32, width=96, count=4, dtype="uint8",
        photometric="RGB", alpha="YES",
    ) as raster:  # fmt: skip
        raster.write(pixels)
    tiles, _ = read(tmp_path / "m.tif", frames=QualitySettings())
    assert [(tile.name, tile.index) for tile in tiles] == [("m.tif@0,32", 1), ("m.tif@0,64", 2)]


def test_equal_and_nearly_equal_tiles_share_a_group() -> None:
    """By pixels, by hash, and through a third; tiles without texture only by pixels."""
    digests = [b"a", b"b", b"a", b"c", b"d", b"e", b"f"]
    hashes = [0, 0b1111_1111, 0, 0xFFFF, 1 << 40 | 0xFFFF_FFFF, None, None]
    # 0 and 1 differ in 8 bits, 1 and 3 in 8, 0 and 3 in 16: one group by the chain.
    assert content_groups(digests, hashes).tolist() == [0, 0, 0, 0, 4, 5, 6]
    assert content_groups(digests, hashes, within=7).tolist() == [0, 1, 0, 3, 4, 5, 6]
    assert content_groups([], []).tolist() == []


def test_a_real_pair_of_equal_images_is_found(shared_data: Path) -> None:
    """The two images of the airplane folder that are the same file share a group, no others do."""
    folder = shared_data / "scenes_ucmerced" / "airplane"
    listing = list_set(parse_source(str(folder)), (), "ignore")
    plan = TilePlan((128, 128), 0.6)
    tiles = read_tiles(listing.entries[:20], plan, frames=None, unreadable=lambda bad: None)
    signs = [signs_of(tile.pixels) for tile in tiles]
    groups = content_groups([digest for digest, _ in signs], [bits for _, bits in signs])
    names = [entry.file.name for entry in listing.entries[:20]]
    shared = {names[row] for row in range(len(groups)) if (groups == groups[row]).sum() > 1}
    assert shared == {"airplane01.jpg", "airplane02.jpg"}
