"""What passes for a picture, and what does not."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from server_sync.intake import picture as pictures


def png_claiming(width, height):
    """A PNG of a few bytes whose header claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "media_type", "words"),
    [
        (png_claiming(60_000, 60_000), "image/png", "more than 1000000 px"),
        (png_claiming(3000, 3000), "image/png", "3000 x 3000 px is more than 1000000 px"),
        (png_claiming(900, 900), "image/png", "truncated"),
        (b"", "image/png", "not a PNG file"),
        (b"GIF89a", "image/png", "not a PNG file"),
        (b"\xff\xd8\xff\xe0", "image/jpeg", "."),
        (b"RIFF\0\0\0\0WEBP", "image/webp", "not a WEBP file"),
    ],
)
def test_what_is_no_usable_picture_is_refused(data, media_type, words):
    """A bomb, a cut file, an empty one, another format: one named error each."""
    with pytest.raises(pictures.PictureError, match=words):
        pictures.inspect(data, media_type, 1_000_000)


@pytest.mark.parametrize(
    ("kind", "media_type"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("PNG", "image/png")]
)
def test_each_accepted_kind_decodes_and_no_other_passes_for_it(kind, media_type, picture):
    """The described type must be the true one."""
    data = picture(1, size=32, kind=kind)
    found = pictures.inspect(data, media_type, 10_000)
    assert (found.width, found.height, found.media_type) == (32, 32, media_type)
    other = "image/png" if kind != "PNG" else "image/jpeg"
    with pytest.raises(pictures.PictureError):
        pictures.inspect(data, other, 10_000)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "WEBP", "PNG"]),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
    st.floats(0.05, 1.0),
)
def test_damaged_pictures_decode_or_are_refused(kind, flips, kept):
    """Bytes flipped and cut anywhere: a picture or a PictureError, never another error."""
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((48, 48)).save(out, kind)
    data = bytearray(out.getvalue())
    for where, value in flips:
        data[int(where * len(data))] = value
    with contextlib.suppress(pictures.PictureError):
        pictures.inspect(bytes(data[: int(kept * len(data))]), f"image/{kind.lower()}", 100_000)
