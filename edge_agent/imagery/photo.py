"""JPEG, PNG and WebP photos, decoded whole by Pillow."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from edge_agent.imagery.errors import FrameError, check_photo_size
from edge_agent.imagery.exif import PhotoFacts, read_facts
from edge_agent.imagery.source import Block
from edge_agent.imagery.tiling import Window

FORMATS: Final = ("JPEG", "PNG", "WEBP")
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what brings the picture upright."""


_BROKEN: Final = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, zlib.error,
)  # fmt: skip
"""Pillow's ways to say that a file is broken."""


@contextmanager
def _as_frame_error() -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError as error:
        raise FrameError("not-an-image", "no TIFF, JPEG, PNG or WebP") from error
    except Image.DecompressionBombError as error:
        raise FrameError("too-large", "far more pixels than any camera has") from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        struct.error,
        zlib.error,
    ) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in text.lower():
            raise FrameError("truncated", f"the file ends too early ({text})") from error
        raise FrameError("corrupt", f"cannot be decoded ({text})") from error


class Photo:
    """A decoded photo, upright; a context manager. FrameError and nothing else for bad files.

    The picture stays with Pillow: tiles are cropped from it, without a second copy in memory.
    JPEG decoding at reduced size (`Image.draft`) is not used: its scaling is not the area
    average that all other frames get.
    """

    bytes_per_pixel = 8
    rendering = "photo"

    def __init__(self, path: Path, max_pixels: int) -> None:
        with warnings.catch_warnings(), _as_frame_error():
            warnings.simplefilter("ignore")  # large pictures, odd tags: judged here
            with Image.open(path, formats=FORMATS) as opened:
                check_photo_size(*opened.size, max_pixels)
                self.facts: PhotoFacts = read_facts(opened)
                opened.load()
                self._image = _turned(_in_plain_mode(opened), self.facts.orientation)
        self.width, self.height = self._image.size
        self.notes = self.facts.notes

    def __enter__(self) -> Photo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._image.close()

    def read(self, window: Window) -> Block:
        """The window's pixels; transparent ones are 0."""
        right, bottom = window.column + window.width, window.row + window.height
        pixels = np.asarray(self._image.crop((window.column, window.row, right, bottom)))
        if pixels.ndim == 2:
            return Block(np.broadcast_to(pixels[..., None], (*pixels.shape, 3)), None)
        if pixels.shape[2] == 3:
            return Block(pixels, None)
        valid = pixels[..., 3] > 0
        return Block(pixels[..., :3] * valid[..., None], None if valid.all() else valid)


def header_facts(path: Path) -> PhotoFacts:
    """EXIF of a raster; nothing where Pillow cannot read its header, as long as GDAL can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=("TIFF", "PNG")) as image:
                return read_facts(image)
        except (*_BROKEN, Image.DecompressionBombError):
            return PhotoFacts()


def _in_plain_mode(image: Image.Image) -> Image.Image:
    """As L, RGB or RGBA: grey, colours, colours that are transparent in places."""
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
