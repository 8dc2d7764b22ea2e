"""Damaged files end as tiles or as a FrameError, quietly and in bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_agent.imagery.frames import FrameError, TilePlan, find_frame_files, open_frame

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
QUIET = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def photo(fmt, mode="RGB", **options) -> bytes:
    """A small noisy photo."""
    pixels = np.random.default_rng(3).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (50.0, 0.0, 0.0), 3: "E", 4: (10.0, 0.0, 0.0)})
    Image.fromarray(pixels).convert(mode).save(buffer, fmt, exif=exif, **options)
    return buffer.getvalue()


@pytest.fixture
def rasters(write_tif, coded) -> list[bytes]:
    """Strips and tiles, raw and compressed, 8 and 16 bits and floats."""
    made = [
        write_tif(coded(60, 50), nodata=0),
        write_tif(coded(60, 50), compress="lzw", blockysize=7),
        write_tif(coded(64, 64).astype(np.uint16), tiled=True, blockxsize=32, blockysize=32),
        write_tif(coded(60, 50)[:1].astype(np.float32), compress="deflate"),
    ]
    return [path.read_bytes() for path in made]


@st.composite
def damage(draw):
    """Bytes to set, mostly in the header, and where to cut, if at all."""
    place = st.one_of(st.floats(0.0, 0.1), st.floats(0.0, 1.0))
    changes = draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=6))
    return changes, draw(st.none() | st.floats(0.0, 1.0))


def damaged(content: bytes, plan) -> bytes:
    """`content` with the plan carried out."""
    changes, cut = plan
    result = bytearray(content)
    for place, value in changes:
        result[int(place * (len(result) - 1))] = value
    return bytes(result if cut is None else result[: int(cut * len(result))])


def check_tiles(path, opened) -> None:
    """Tiles in the agreed form, or one FrameError; the first 50 are enough."""
    failure: FrameError | None = None
    try:
        with opened(path, 32) as frame:
            for number, tile in enumerate(frame.tiles()):
                assert tile.pixels.shape == (32, 32, 3)
                assert tile.pixels.dtype == np.uint8
                assert 0.0 <= tile.nodata_share <= 1.0
                if number == 50:
                    break
    except FrameError as error:
        failure = error
    assert failure is None or (failure.reason and "\n" not in failure.message)


@QUIET
@given(plan=damage(), number=st.integers(0, 3))
def test_damaged_rasters(tmp_path, opened, rasters, plan, number) -> None:
    """Any bytes changed, any length cut."""
    path = tmp_path / "damaged.tif"
    path.write_bytes(damaged(rasters[number], plan))
    check_tiles(path, opened)


PHOTOS = [
    photo("JPEG"), photo("JPEG", progressive=True), photo("PNG"), photo("PNG", "P"),
    photo("PNG", "LA"), photo("WEBP"), photo("WEBP", lossless=True),
    photo("JPEG", "CMYK"),
]  # fmt: skip


@QUIET
@given(plan=damage(), content=st.sampled_from(PHOTOS))
def test_damaged_photos(tmp_path, opened, plan, content) -> None:
    """Any bytes changed, any length cut."""
    path = tmp_path / "damaged.jpg"
    path.write_bytes(damaged(content, plan))
    check_tiles(path, opened)


@QUIET
@given(
    head=st.sampled_from(
        [b"", b"II*\0", b"MM\0*", b"II+\0", b"\xff\xd8\xff", PNG_SIGNATURE, b"RIFF"]
    ),
    content=st.binary(max_size=200),
)
def test_random_bytes_behind_a_signature(tmp_path, opened, head, content) -> None:
    """Whatever a file pretends to be."""
    path = tmp_path / "random.tif"
    path.write_bytes(head + content)
    check_tiles(path, opened)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>no such image</html>", "not-an-image"),
        (b"II*\0" + bytes(40), "corrupt"),
        (PHOTOS[0][: len(PHOTOS[0]) // 2], "truncated"),
        (PHOTOS[2][: len(PHOTOS[2]) // 2], "truncated"),
        (b"<VRTDataset rasterXSize='99' rasterYSize='99'></VRTDataset>", "not-an-image"),
    ],
)
def test_reasons_are_stable(tmp_path, read, content, reason) -> None:
    """The slugs that the ledger holds."""
    path = tmp_path / "bad.tif"
    path.write_bytes(content)
    with pytest.raises(FrameError) as caught:
        read(path)
    assert caught.value.reason == reason


def test_a_file_gone_since_it_was_found_is_unreadable(tmp_path) -> None:
    """A card pulled out between listing and reading."""
    path = tmp_path / "gone.jpg"
    path.write_bytes(PHOTOS[0])
    (file,) = find_frame_files(path)
    path.unlink()
    with pytest.raises(FrameError) as caught, open_frame(file, TilePlan((32, 32), 0.6)):
        pass
    assert caught.value.reason == "unreadable"


def test_tiles_before_a_break_are_good(write_tif, opened, coded) -> None:
    """A file cut short gives its first rows, then says that it ends too early."""
    bands = coded(96, 32)
    path = write_tif(bands, blockysize=8)
    path.write_bytes(path.read_bytes()[: -40 * 32 * 3])
    with opened(path) as frame:
        assert frame.tile_count == 3
        tiles = frame.tiles()
        assert np.array_equal(next(tiles).pixels, np.moveaxis(bands[:, :32], 0, 2))
        with pytest.raises(FrameError) as caught:
            next(tiles)
    assert caught.value.reason == "truncated"


def png_bomb(side: int, bits: int) -> bytes:
    """A well-formed PNG of side x side black pixels in RGB, deflated from zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = side.to_bytes(4) + side.to_bytes(4) + bytes([bits, 2, 0, 0, 0])
    packer = zlib.compressobj(9)
    row = bytes(3 * side * bits // 8 + 1)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("side", "bits"), [(8_100, 8), (8_100, 16), (14_000, 8)])
def test_decompression_bombs_are_refused_before_decoding(tmp_path, opened, side, bits) -> None:
    """A small file of many pixels costs nothing but a line in the ledger."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(side, bits))
    assert path.stat().st_size < 1_200_000
    with pytest.raises(FrameError) as caught, opened(path):
        pass
    assert caught.value.reason == "too-large"


def test_the_limit_on_photos_is_a_setting(tmp_path, opened) -> None:
    """1 500 x 1 000 px of 4 bytes are 5.7 MiB."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (1500, 1000)).save(path)
    with opened(path, photo_memory_mib=6) as frame:
        assert frame.frame.width == 1500
    with (
        pytest.raises(FrameError, match=r"take 6 MiB to decode.*photo_memory_mib = 5"),
        opened(path, photo_memory_mib=5),
    ):
        pass


def test_nothing_but_the_error_is_said(tmp_path, write_tif, coded) -> None:
    """Neither GDAL nor PROJ nor Pillow writes to stderr, whatever is wrong with a file."""
    strip = write_tif(coded(60, 50), compress="lzw", blockysize=7).read_bytes()
    cases = [strip[: len(strip) // 2], PHOTOS[0][:900], PHOTOS[2][:900], b"II*\0" + bytes(40)]
    # A reference system that PROJ complains about: its unit of length (GeoKey 3076) made up.
    key = (3076).to_bytes(2, "little") + b"\0\0\x01\0"
    at = strip.index(key) + len(key) if key in strip else strip.index((1024).to_bytes(2, "little"))
    cases.append(strip[:at] + b"\x77\x77" + strip[at + 2 :])
    # GDAL quotes what it cannot parse, even where it is no text.
    tagged = write_tif(coded(60, 50), "tagged.tif", tags={"NOTE": "dawn"}).read_bytes()
    cases += [tagged.replace(b"</Item>", b"</It\xe9m>"), tagged]
    assert cases[-2] != tagged
    for number, content in enumerate(cases):
        (tmp_path / f"case{number}.tif").write_bytes(content)
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from edge_agent.imagery.frames import FrameError, TilePlan, find_frame_files, open_frame
        for file in find_frame_files(Path(sys.argv[1])):
            try:
                with open_frame(file, TilePlan((32, 32), 0.6)) as opened:
                    print(len(list(opened.tiles())))
            except FrameError as error:
                print(error)
    """)
    ran = subprocess.run(
        [sys.executable, "-W", "default", "-c", program, tmp_path], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert len(ran.stdout.splitlines()) == len(cases) + 2  # and frame.tif, tagged.tif
