"""Photos take the memory that their header promises, and no more than the settings allow."""

from __future__ import annotations

import io
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

from edge_agent.imagery.frames import FrameError
from edge_agent.imagery.photo_memory import bytes_to_decode

SIDE = 4000
PIXELS = SIDE * SIDE
WORKING_BYTES = 32 * 2**20
"""A row of tiles on its way, a file's own bytes, what the allocator keeps."""
PROGRAM = """
import resource, sys
from pathlib import Path
from PIL import Image
from edge_agent.imagery.frames import TilePlan, find_frame_files, open_frame
from edge_agent.imagery.settings import ImagerySettings
Image.init()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(file,) = find_frame_files(Path(sys.argv[1]))
plan = TilePlan((256, 256), 0.6, ImagerySettings(photo_memory_mib=int(sys.argv[2])))
with open_frame(file, plan) as opened:
    count = sum(1 for _ in opened.tiles())
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@cache
def scene() -> Image.Image:
    """16 megapixels with something on them everywhere."""
    noise = np.random.default_rng(5).integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8)
    return Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("name", "mode", "options", "bytes_a_pixel"),
    [
        ("plain.jpg", "RGB", {}, 4),
        ("turned.jpg", "RGB", {"exif": turned()}, 4),
        ("inks.jpg", "CMYK", {}, 4),
        ("grey.jpg", "L", {}, 1),
        ("progressive.jpg", "RGB", {"progressive": True}, 7),
        ("turned-progressive.jpg", "RGB", {"progressive": True, "exif": turned()}, 7),
        ("progressive-444.jpg", "RGB", {"progressive": True, "subsampling": 0}, 10),
        ("palette.png", "P", {"compress_level": 1}, 1),
        ("lossy.webp", "RGB", {"method": 0}, 20),
        ("lossless.webp", "RGB", {"lossless": True, "quality": 0, "method": 0}, 20),
    ],
)
def test_a_photo_takes_what_it_is_counted_for(
    tmp_path, opened, name, mode, options, bytes_a_pixel
) -> None:
    """A process grows by the counted bytes at most; one MiB less allowed, and it is refused."""
    path = tmp_path / name
    scene().convert(mode).save(path, **options)
    allowed = -(-PIXELS * bytes_a_pixel // 2**20) + 1
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, str(allowed)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    count, grown_kib = map(int, ran.stdout.split())
    assert count == 16 * 16
    assert grown_kib * 1024 < PIXELS * bytes_a_pixel + WORKING_BYTES
    with (
        pytest.raises(FrameError, match="too-large"),
        opened(path, photo_memory_mib=allowed - 2),
    ):
        pass


def test_bands_one_after_the_other_are_counted_like_progressive() -> None:
    """A baseline file whose first scan holds one band of three makes libjpeg wait for the rest."""
    stored = io.BytesIO()
    Image.new("RGB", (160, 160)).save(stored, "JPEG", subsampling=0)
    content = bytearray(stored.getvalue())
    start = content.index(b"\xff\xda")
    assert content[start + 4] == 3

    def counted() -> int:
        stream = io.BytesIO(bytes(content))
        with Image.open(stream) as image:
            return bytes_to_decode(image, stream)

    assert counted() == 160 * 160 * 4
    content[start + 4] = 1
    assert counted() == 160 * 160 * (4 + 3 * 2)


@pytest.mark.parametrize(
    ("width", "height", "progressive"), [(8192, 6144, False), (5472, 3648, True)]
)
def test_usual_cameras_are_read_by_default(tmp_path, opened, width, height, progressive) -> None:
    """50 megapixels plain, 20 progressive."""
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (width, height), (9, 99, 199)).save(path, progressive=progressive)
    with opened(path) as frame:
        assert (frame.frame.width, frame.frame.height) == (width, height)
