"""What decoding a photo takes, known from its header.

Pillow holds 4 bytes for a pixel of several bands and 1 for a pixel of one. Two kinds of files
take more on the way there:

- a JPEG whose first scan is not all of it (progressive, or band after band): libjpeg keeps two
  bytes for every coefficient until the last scan has come (ITU-T T.81, annex G; libjpeg.txt,
  "Memory usage"), 3 bytes a pixel at 4:2:0, 6 without subsampling;
- a WebP: libwebp's two canvases, its lossless workspace and Pillow's copy, 4 bytes each.
"""

from __future__ import annotations

from typing import IO, Final

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

_ONE_BYTE_MODES: Final = ("1", "L", "P")
_WEBP_BYTES: Final = 20
_COEFFICIENT_BYTES: Final = 2
_START_OF_SCAN: Final = 0xDA
_ALONE: Final = (0x01, *range(0xD0, 0xDA))
"""Markers without a segment."""


def bytes_to_decode(image: Image.Image, stream: IO[bytes]) -> int:
    """Most memory that `image`, opened but not loaded, will take; moves `stream`, its file."""
    width, height = image.size
    pixels = width * height
    if image.format == "WEBP":
        return _WEBP_BYTES * pixels
    needed = pixels if image.mode in _ONE_BYTE_MODES else 4 * pixels
    if isinstance(image, JpegImageFile):
        layers = [(across, down) for _, across, down, _ in image.layer]
        if "progressive" in image.info or _bands_of_first_scan(stream) < len(layers):
            needed += _coefficients(width, height, layers) * _COEFFICIENT_BYTES
    return needed


def _coefficients(width: int, height: int, layers: list[tuple[int, int]]) -> int:
    """Of all bands, with subsampling, in whole blocks of 8 x 8."""
    across = max(max(layer[0] for layer in layers), 1)
    down = max(max(layer[1] for layer in layers), 1)
    units = -(-width // (8 * across)) * -(-height // (8 * down))
    return units * sum(64 * layer[0] * layer[1] for layer in layers)


def _bands_of_first_scan(stream: IO[bytes]) -> int:
    """How many bands the first scan of a JPEG holds; 0 where there is none."""
    stream.seek(2)
    while byte := stream.read(1):
        if byte != b"\xff":
            continue
        while byte == b"\xff":
            byte = stream.read(1)
        marker = byte[0] if byte else 0
        if marker in _ALONE or marker == 0:
            continue
        length = int.from_bytes(stream.read(2))
        if marker == _START_OF_SCAN:
            return int.from_bytes(stream.read(1))
        stream.seek(max(0, length - 2), 1)
    return 0
