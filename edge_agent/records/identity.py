"""Names that stay the same after a restart: of samples, tiles and frames. Pure."""

from __future__ import annotations

import uuid
from typing import Final

_SURVEYS: Final = uuid.UUID("0f0f8c5e-6a0e-5d43-9c57-3f6f3b1c8a11")


def storable(text: str) -> str:
    """The text as UTF-8 can hold it: file names may carry bytes that are no text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


def address(frame: str, row: int, column: int) -> str:
    """How people name a tile."""
    return f"{frame}@{row},{column}"


def address_elsewhere(address: str, survey: str) -> str:
    """How a tile of another survey is named: cameras begin with the same file names again."""
    return f"{address} of survey {survey}"


def sample_uuid(
    survey: str, frame: tuple[str, int, int], row: int, column: int, bundle_sha256: bytes
) -> uuid.UUID:
    """The sample's id, from what it shows alone, so that judging it again makes no second one.

    `frame` is its name, size in bytes and time of change in nanoseconds.
    """
    name, size, mtime_ns = frame
    parts = (storable(name), size, mtime_ns, row, column, bundle_sha256.hex())
    return uuid.uuid5(
        uuid.uuid5(_SURVEYS, storable(survey)), "\0".join(str(part) for part in parts)
    )
