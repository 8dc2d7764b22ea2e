"""The one way in which a file can fail to become tiles."""

from __future__ import annotations

from typing import Literal, TypeAlias

FrameFault: TypeAlias = Literal[
    "unreadable",  # the file system will not give it
    "empty",
    "not-an-image",
    "corrupt",
    "truncated",
    "unsupported-bands",
    "unsupported-type",
    "too-small",
    "too-large",
    "block-too-large",
]


class FrameError(Exception):
    """A file that gives no tiles, or no more tiles; `reason` is stable, `message` for people."""

    def __init__(self, reason: FrameFault, message: str) -> None:
        super().__init__(reason, message)
        self.reason: FrameFault = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def check_photo_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture that must be decoded whole and would not fit the memory meant for it.

    Raises:
        FrameError: `too-large`.
    """
    if width * height > max_pixels:
        raise FrameError(
            "too-large",
            f"{width} x {height} px: photos of more than {max_pixels / 1e6:g} megapixels are "
            "refused (imagery.max_photo_megapixels)",
        )
