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

from edge_agent.imagery.errors import FrameError, check_photo_memory
from edge_agent.imagery.exif import PhotoFacts, read_facts
from edge_agent.imagery.photo_memory import bytes_to_decode
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
_LYING: Final = (5, 6, 7, 8)
"""Orientations whose stored rows are upright columns."""
_FROM_RIGHT: Final = (2, 3, 7, 8)
"""Orientations whose stored columns count from the far side of the upright picture ..."""
_FROM_BELOW: Final = (3, 4, 6, 7)
"""... and whose stored rows do."""


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
    except _BROKEN as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in text.lower():
            raise FrameError("truncated", f"the file ends too early ({text})") from error
        raise FrameError("corrupt", f"cannot be decoded ({text})") from error


class Photo:
    """A decoded photo, upright; a context manager. FrameError and nothing else for bad files.

    The picture stays with Pillow as it is stored: tiles are cropped from it, then converted and
    turned, so that no second picture is in memory. JPEG decoding at reduced size (`Image.draft`)
    is not used: its scaling is not the area average that all other frames get.
    """

    bytes_per_pixel = 12
    rendering = "photo"

    def __init__(self, path: Path, max_bytes: int) -> None:
        """`max_bytes` is for the decoded picture and all that decoding it takes."""
        with warnings.catch_warnings(), _as_frame_error(), path.open("rb") as stream:
            warnings.simplefilter("ignore")  # large pictures, odd tags: judged here
            with Image.open(stream, formats=FORMATS) as opened:
                self.facts: PhotoFacts = read_facts(opened)
                here = stream.tell()
                check_photo_memory(*opened.size, bytes_to_decode(opened, stream), max_bytes)
                stream.seek(here)
                opened.load()
                self._image = opened
        self._orientation = self.facts.orientation
        self.width, self.height = self._image.size
        if self._orientation in _LYING:
            self.width, self.height = self.height, self.width
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
        pixels = np.asarray(_turned(_in_plain_mode(self._crop(window)), self._orientation))
        if pixels.ndim == 2:
            return Block(np.broadcast_to(pixels[..., None], (*pixels.shape, 3)), None)
        if pixels.shape[2] == 3:
            return Block(pixels, None)
        valid = pixels[..., 3] > 0
        return Block(pixels[..., :3] * valid[..., None], None if valid.all() else valid)

    def _crop(self, window: Window) -> Image.Image:
        """The window, given in the upright picture, as it is stored."""
        columns = (window.column, window.column + window.width)
        rows = (window.row, window.row + window.height)
        width, height = self.width, self.height
        if self._orientation in _LYING:
            columns, rows, width, height = rows, columns, height, width
        if self._orientation in _FROM_RIGHT:
            columns = (width - columns[1], width - columns[0])
        if self._orientation in _FROM_BELOW:
            rows = (height - rows[1], height - rows[0])
        return self._image.crop((columns[0], rows[0], columns[1], rows[1]))


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
