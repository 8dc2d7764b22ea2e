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


def check_photo_memory(width: int, height: int, needed: int, most: int) -> None:
    """Refuse a picture that must be decoded whole and would not fit the memory meant for it.

    Raises:
        FrameError: `too-large`.
    """
    if needed > most:
        raise FrameError(
            "too-large",
            f"{width} x {height} px take {-(-needed // 2**20)} MiB to decode, more than "
            f"imagery.photo_memory_mib = {most // 2**20}",
        )
