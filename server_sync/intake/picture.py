"""Is it a picture? Decoded once, within bounds, before a receipt is given. Pure.

The header is read first, so a small file that claims a huge picture is refused before any memory
is taken for it.
"""

from __future__ import annotations

import io
import warnings
from typing import Final

from PIL import Image, UnidentifiedImageError

from server_sync.domain import Picture

_FORMATS: Final = {"image/jpeg": "JPEG", "image/webp": "WEBP", "image/png": "PNG"}


class PictureError(ValueError):
    """The bytes are no usable picture; the message says why."""


def inspect(data: bytes, media_type: str, max_pixels: int) -> Picture:
    """Decode the whole picture and say what it is.

    Raises:
        PictureError: another format than `media_type`, more than `max_pixels`, or damaged.
    """
    wanted = _FORMATS.get(media_type)
    if wanted is None:
        raise PictureError(f"no decoder for {media_type}")
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a picture up to twice its own limit; ours is below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=[wanted]) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise PictureError(f"{width} x {height} px is more than {max_pixels} px")
                image.load()
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(f"not a {wanted} file") from error
    except Image.DecompressionBombError as error:
        # Pillow's own limit, which no setting of ours reaches.
        raise PictureError(f"more than {max_pixels} px") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        MemoryError,
        OverflowError,
        IndexError,
        TypeError,
    ) as error:
        # What Pillow's decoders are seen to raise on damaged files.
        raise PictureError(str(error) or type(error).__name__) from error
    return Picture(media_type, width, height)
