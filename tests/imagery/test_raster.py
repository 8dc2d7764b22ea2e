"""GeoTIFFs of every make: windows land where they should, samples and holes come out right."""

from __future__ import annotations

import numpy as np
import pytest
from rasterio.enums import ColorInterp as Colour

from edge_agent.imagery.frames import FrameError
from edge_agent.imagery.raster import Raster

GREY_TILE = np.zeros((1, 32, 32), np.uint8)


def image(bands):
    """(3, height, width) -> (height, width, 3)."""
    return np.moveaxis(bands, 0, 2)


LAYOUTS = {
    "strips of one row": {"blockysize": 1},
    "strips": {"blockysize": 7, "compress": "lzw"},
    "band after band": {"interleave": "band", "compress": "deflate"},
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 32, "compress": "deflate"},
    "BigTIFF": {"BIGTIFF": "YES"},
    "big endian": {"ENDIANNESS": "BIG"},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("overlap", [0.0, 0.3])
def test_native_tiles_are_the_frames_own_bytes(write_tif, read, coded, layout, overlap) -> None:
    """Every layout of the file: each tile is exactly the window that it names."""
    bands = coded(150, 210)
    frame, tiles = read(write_tif(bands, photometric="RGB", **layout), overlap=overlap)
    assert (frame.height, frame.width) == (150, 210)
    for tile in tiles:
        assert (tile.height, tile.width) == (32, 32)
        there = image(bands)[tile.row : tile.row + 32, tile.column : tile.column + 32]
        assert np.array_equal(tile.pixels, there)
        assert tile.pixels.flags.c_contiguous
        assert tile.nodata_share == 0.0
    assert {tiles[-1].row, tiles[-1].column} == {150 - 32, 210 - 32}


def test_cloud_optimised_file_is_read_at_full_resolution(write_tif, read, coded) -> None:
    """Overviews hold pixels that were resampled once already: they are not used."""
    bands = coded(600, 700)
    path = write_tif(bands, driver="COG", blocksize=128, overview_resampling="nearest")
    _, tiles = read(path, 64, 2.4)  # 4 x 4 native pixels make one
    assert {(tile.height, tile.width) for tile in tiles} == {(256, 256)}
    for tile in tiles:
        there = image(bands)[tile.row : tile.row + 256, tile.column : tile.column + 256]
        means = there.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
        assert np.array_equal(tile.pixels, np.floor(means + 0.5).astype(np.uint8))


@pytest.mark.parametrize("gsd", [0.6, 1.8, 2.5, 0.4])
@pytest.mark.parametrize("hole", [False, True])
def test_a_restart_goes_on_with_identical_tiles(write_tif, opened, coded, gsd, hole) -> None:
    """From any tile on, the rest is what an unbroken run gives: pixels, place and shares."""
    bands = coded(200, 260)
    if hole:
        bands[:, 40:90, 30:200] = 0
    path = write_tif(bands, nodata=0 if hole else None, compress="lzw")
    with opened(path, gsd=gsd, overlap=0.2) as frame:
        whole = list(frame.tiles())
        assert len(whole) == frame.tile_count >= 6
        for start in (*range(0, frame.tile_count, 5), frame.tile_count - 1, frame.tile_count):
            rest = list(frame.tiles(start))
            assert len(rest) == len(whole) - start
            for tile, again in zip(whole[start:], rest, strict=True):
                assert np.array_equal(tile.pixels, again.pixels)
                assert (tile.row, tile.column, tile.nodata_share, tile.position) == (
                    again.row, again.column, again.nodata_share, again.position
                )  # fmt: skip


@pytest.mark.parametrize("gsd", [0.6, 2.0])
def test_wide_frames_read_in_pieces_give_the_same_tiles(
    write_tif, read, coded, gsd, monkeypatch
) -> None:
    """A row of tiles that does not fit the memory bound is cut in several reads."""
    path = write_tif(coded(120, 900), nodata=7)
    _, together = read(path, gsd=gsd)
    monkeypatch.setattr("edge_agent.imagery.cutting.CHUNK_BYTES", 40_000)
    _, pieces = read(path, gsd=gsd)
    for tile, again in zip(together, pieces, strict=True):
        assert np.array_equal(tile.pixels, again.pixels)
        assert (tile.row, tile.column, tile.nodata_share) == (
            again.row, again.column, again.nodata_share
        )  # fmt: skip


def test_nodata_is_counted_and_blacked_out(write_tif, read, coded) -> None:
    """Only pixels whose three bands are all nodata are holes; the shares add up to the truth."""
    bands = np.maximum(coded(96, 96), 1)
    bands[:, 10:40, 20:70] = 255
    bands[0, 60:70, 60:70] = 255  # one band alone says nothing
    truth = (bands == 255).all(axis=0)
    _, tiles = read(write_tif(bands, nodata=255))
    assert sum(tile.nodata_share for tile in tiles) * 32 * 32 == truth.sum() == 30 * 50
    for tile in tiles:
        window = (slice(tile.row, tile.row + 32), slice(tile.column, tile.column + 32))
        expected = image(bands)[window].copy()
        expected[truth[window]] = 0
        assert np.array_equal(tile.pixels, expected)


def test_nodata_share_of_averaged_tiles_is_that_of_the_ground(write_tif, read) -> None:
    """A third of a window without data stays a third, and does not darken the rest."""
    bands = np.full((3, 96, 96), 90, np.uint8)
    bands[:, :, :32] = 0
    _, (tile,) = read(write_tif(bands, nodata=0), 32, 1.8)
    assert tile.nodata_share == pytest.approx(1 / 3, abs=1e-12)
    columns = tile.pixels[5, :, 1].tolist()
    assert columns == [0] * 10 + [90] * 22  # column 10 covers native 30..32: 2 of 3 are holes


def test_internal_mask(write_tif, read, coded) -> None:
    """A mask band in the file decides, whatever the colours are."""
    bands = coded(64, 64)
    mask = np.full((64, 64), 255, np.uint8)
    mask[:16] = 0
    _, tiles = read(write_tif(bands, mask=mask, photometric="RGB"))
    assert [tile.nodata_share for tile in tiles] == [0.5, 0.5, 0.0, 0.0]
    assert not tiles[0].pixels[:16].any()
    assert np.array_equal(tiles[0].pixels[16:], image(bands)[16:32, :32])


def test_alpha_band(write_tif, read, coded) -> None:
    """What is fully transparent is no data; what is half transparent still shows."""
    alpha = np.full((1, 32, 32), 255, np.uint8)
    alpha[0, :8] = 0
    alpha[0, 8:16] = 1
    bands = np.concatenate([coded(32, 32), alpha])
    _, (tile,) = read(write_tif(bands, photometric="RGB", alpha="YES"))
    assert tile.nodata_share == 0.25
    assert np.array_equal(tile.pixels[8:], image(bands[:3])[8:])


def test_colours_are_taken_by_name(write_tif, read, coded) -> None:
    """Blue, green, red and infrared on disk: the tile is red, green, blue."""
    bands = coded(32, 32)
    infrared = np.full((1, 32, 32), 9, np.uint8)
    order = (Colour.blue, Colour.green, Colour.red, Colour.undefined)
    path = write_tif(
        np.concatenate([bands[::-1], infrared]), colours=order, photometric="MINISBLACK"
    )
    _, (tile,) = read(path)
    assert np.array_equal(tile.pixels, image(bands))


def test_grey_becomes_three_equal_bands(write_tif, read, coded) -> None:
    """One band is shown in grey."""
    grey = coded(32, 32)[2:]
    _, (tile,) = read(write_tif(grey))
    assert np.array_equal(tile.pixels, np.repeat(image(grey), 3, axis=2))


def test_palette_is_expanded_before_averaging(write_tif, read) -> None:
    """Red and blue indices, averaged, are purple: an average of indices would be another colour."""
    indices = np.zeros((1, 64, 64), np.uint8)
    indices[0, :, ::2] = 10
    colours = {0: (255, 0, 0, 255), 5: (0, 255, 0, 255), 10: (0, 0, 255, 255)}
    _, (tile,) = read(write_tif(indices, colormap=colours), 32, 1.2)
    assert (tile.pixels == (128, 0, 128)).all()


def test_sixteen_bits_are_stretched_by_one_rule_for_the_frame(write_tif, read) -> None:
    """A ramp over the frame: tiles keep their order, and the note states the rule."""
    ramp = np.linspace(1000, 5000, 64 * 64).astype(np.uint16).reshape(1, 64, 64)
    bands = np.concatenate([ramp, ramp, ramp])
    frame, tiles = read(write_tif(bands, photometric="RGB", blockysize=1))
    low, high = np.percentile(ramp, (2, 98))
    expected = np.clip((ramp[0] - low) / (high - low), 0, 1) * 255
    for tile in tiles:
        there = expected[tile.row : tile.row + 32, tile.column : tile.column + 32]
        assert np.abs(tile.pixels[..., 0] - there).max() <= 1.0
    assert any(note.startswith("stretched to 8 bits from 10") for note in frame.notes)


def test_stretch_leaves_nodata_out(write_tif, read) -> None:
    """Half the frame is 0 = nodata; contrast is that of the other half."""
    band = np.linspace(30_000, 31_000, 64 * 64).astype(np.uint16).reshape(1, 64, 64)
    band[0, :32] = 0
    _, tiles = read(write_tif(band, nodata=0))
    assert [tile.nodata_share for tile in tiles] == [1.0, 1.0, 0.0, 0.0]
    assert not tiles[0].pixels.any()
    assert tiles[2].pixels.min() == 0
    assert tiles[3].pixels.max() == 255


@pytest.mark.parametrize("nodata", [None, float("nan"), -9999.0])
def test_floats_with_nan(write_tif, read, nodata) -> None:
    """NaN is no data whether the header says so or not; 0..1 is the full range."""
    band = np.linspace(0.0, 1.0, 32 * 32, dtype=np.float32).reshape(1, 32, 32)
    expected = np.floor(band[0] * 255 + 0.5)
    band[0, 4:12] = np.nan
    if nodata == -9999.0:
        band[0, 4] = -9999.0
    _, (tile,) = read(write_tif(band, nodata=nodata))
    assert tile.nodata_share == 0.25
    assert not tile.pixels[4:12].any()
    assert np.abs(tile.pixels[12:, :, 0] - expected[12:]).max() <= 1


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32, np.float64, np.int8])
def test_every_real_sample_type_is_read(write_tif, read, kind) -> None:
    """Elevation models and other odd rasters become pictures with contrast."""
    band = np.linspace(-100, 100, 32 * 32).astype(kind).reshape(1, 32, 32)
    _, (tile,) = read(write_tif(band))
    assert (tile.pixels.min(), tile.pixels.max()) == (0, 255)


def test_fewer_than_eight_bits_use_the_whole_range(write_tif, read) -> None:
    """White of one bit is 255, not 1; of four bits it is 255, not 15."""
    band = (np.indices((32, 32)).sum(axis=0) % 2).astype(np.uint8)[None]
    _, (tile,) = read(write_tif(band, NBITS=1))
    assert np.array_equal(tile.pixels[..., 0], band[0] * 255)
    frame, (tile,) = read(write_tif(band * 15, NBITS=4))
    assert np.array_equal(tile.pixels[..., 0], band[0] * 255)
    assert any("4 bits" in note for note in frame.notes)


def test_a_frame_smaller_than_a_tile_is_padded(write_tif, read, coded) -> None:
    """24 x 20 px in a tile of 32: the rest is nodata, the place is that of the real pixels."""
    bands = coded(20, 24)
    frame, (tile,) = read(write_tif(bands, photometric="RGB"))
    assert (tile.row, tile.column, tile.height, tile.width) == (0, 0, 20, 24)
    assert np.array_equal(tile.pixels[:20, :24], image(bands))
    assert not tile.pixels[20:].any()
    assert not tile.pixels[:, 24:].any()
    assert tile.nodata_share == pytest.approx(1 - 20 * 24 / 32**2)
    assert tile.position == frame.position


@pytest.mark.parametrize(
    ("bands", "profile", "reason"),
    [
        (np.zeros((5, 32, 32), np.uint8), {}, "unsupported-bands"),
        (np.zeros((1, 32, 32), np.complex64), {}, "unsupported-type"),
        (np.zeros((1, 15, 32), np.uint8), {}, "too-small"),
    ],
)
def test_what_cannot_be_shown_is_refused_by_name(write_tif, read, bands, profile, reason) -> None:
    """One stable reason each, and one sentence."""
    with pytest.raises(FrameError) as caught:
        read(write_tif(bands, **profile))
    assert caught.value.reason == reason
    assert "\n" not in caught.value.message
    assert len(caught.value.message) > 20


def test_blocks_that_memory_cannot_hold_are_refused(write_tif, read, monkeypatch) -> None:
    """GDAL needs a whole block at once: the message says how large, and how to store it better."""
    path = write_tif(GREY_TILE, tiled=True, blockxsize=64, blockysize=32)
    monkeypatch.setattr("edge_agent.imagery.raster.MAX_BLOCK_BYTES", 64 * 32 - 1)
    with pytest.raises(FrameError, match=r"64 x 32 px.*TILED=YES") as caught:
        read(path)
    assert caught.value.reason == "block-too-large"


def test_inks_are_shown_as_colours(write_tif, read) -> None:
    """A CMYK raster: no ink is white, full cyan is its complement."""
    inks = np.zeros((4, 32, 32), np.uint8)
    inks[0, :16] = 255
    _, (tile,) = read(write_tif(inks, photometric="CMYK"))
    assert tile.pixels[20, 0].tolist() == [255, 255, 255]
    assert tile.pixels[0, 0].tolist() == [0, 255, 255]
    assert tile.nodata_share == 0.0


def test_sixteen_bit_png_keeps_its_depth(tmp_path, read, write_tif) -> None:
    """A dark 16-bit PNG has contrast in its lower bits: it is stretched, not cut off."""
    band = np.linspace(100, 300, 40 * 40).astype(np.uint16).reshape(1, 40, 40)
    path = write_tif(band, "grey.png", driver="PNG", crs=None, transform=None)
    frame, tiles = read(path)
    assert (tiles[0].pixels.min(), tiles[-1].pixels.max()) == (0, 255)
    assert any("stretched" in note for note in frame.notes)


@pytest.mark.parametrize(
    "name", ["a b.tif", "50%.tif", "x?y#z.tif", "a!b.tif", "é.TIFF", "zip:.tif"]
)
def test_odd_file_names(write_tif, read, coded, name) -> None:
    """Names that GDAL could take for addresses or options are just names."""
    _, tiles = read(write_tif(coded(32, 32), name))
    assert len(tiles) == 1


@pytest.mark.parametrize(("allowed", "most"), [(1 << 40, 64), (10 * 16 * 16 * 2, 10), (1, 1)])
def test_choosing_a_stretch_decodes_a_bounded_part(
    write_tif, opened, monkeypatch, allowed, most
) -> None:
    """64 blocks of 16 x 16 samples of 16 bits: as many are read as fit, whatever the file."""
    ramp = np.arange(128 * 128, dtype=np.uint16).reshape(1, 128, 128)
    path = write_tif(ramp, tiled=True, blockxsize=16, blockysize=16)
    monkeypatch.setattr("edge_agent.imagery.raster._SAMPLED_BYTES", allowed)
    read_raw = Raster._read_raw
    read = []

    def counted(raster, window):
        read.append(window)
        return read_raw(raster, window)

    monkeypatch.setattr(Raster, "_read_raw", counted)
    with opened(path):
        pass
    assert 1 <= len(set(read)) == len(read) <= most
    assert len(read) > most / 2
