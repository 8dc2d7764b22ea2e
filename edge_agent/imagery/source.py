"""What a frame's reader must offer so that tiles can be cut from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Pixels
from edge_agent.imagery.tiling import Window

Valid = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Block:
    """Some pixels of a frame; those without data are 0."""

    pixels: Pixels
    """(height, width, 3), maybe a view."""
    valid: Valid | None
    """(height, width), None when all pixels are valid."""


class Source(Protocol):
    """A frame open for reading."""

    @property
    def bytes_per_pixel(self) -> int:
        """Memory that reading one pixel takes."""

    @property
    def rendering(self) -> str:
        """How the file's samples become 8 bits: equal texts, equal pixels."""

    def read(self, window: Window) -> Block:
        """The pixels of a window inside the frame.

        Raises:
            FrameError: they cannot be read.
        """


def both_valid(one: Valid | None, other: Valid) -> Valid:
    """What is valid by both; None is valid everywhere."""
    return other if one is None else one & other
