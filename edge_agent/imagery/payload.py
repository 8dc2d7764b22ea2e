"""A kept tile's pixels, encoded for the way home."""

from __future__ import annotations

import io
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from PIL import Image

from edge_agent.domain import Pixels

PayloadFormat = Literal["jpeg", "webp", "png"]
MEDIA_TYPES: Final[dict[PayloadFormat, str]] = {
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "png": "image/png",
}


class PayloadSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How kept pixels are encoded."""

    format: PayloadFormat = "jpeg"
    """`png` is lossless and about ten times the size of `jpeg`; `webp` is the smallest."""
    quality: Annotated[int, Meta(ge=1, le=100)] = 90
    """Of jpeg and webp; png ignores it."""


def encode_payload(pixels: Pixels, settings: PayloadSettings) -> bytes:
    """(H, W, 3) pixels as the model saw them; the same pixels always give the same bytes."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if settings.format == "jpeg":
        image.save(buffer, "JPEG", quality=settings.quality, subsampling=0)
    elif settings.format == "webp":
        image.save(buffer, "WEBP", quality=settings.quality, method=4)
    else:
        image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
