"""Pixels -> what a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Pixels
from edge_agent.inference.bundle import InputSpec

Prepared: TypeAlias = npt.NDArray[np.float32]
"""(N, 3, H, W): the input for N tiles, of which every member of a bundle takes the same."""


class Preprocess:
    """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32 in the bundle's colour order and scale."""

    def __init__(self, spec: InputSpec) -> None:
        mean = np.array(spec.mean, dtype=np.float64)
        scale = np.array(spec.scale, dtype=np.float64)
        self._factor = (1.0 / scale).astype(np.float32)[:, None, None]
        self._shift = (-mean / scale).astype(np.float32)[:, None, None]
        self._order = slice(None) if spec.colour == "RGB" else slice(None, None, -1)

    def __call__(self, pixels: Sequence[Pixels] | npt.NDArray[np.uint8]) -> Prepared:
        """The network's input for N tiles."""
        height, width = pixels[0].shape[:2]
        batch = np.empty((len(pixels), 3, height, width), dtype=np.float32)
        for target, tile in zip(batch, pixels, strict=True):
            planes = np.ascontiguousarray(tile.transpose(2, 0, 1)[self._order])
            np.multiply(planes, self._factor, out=target)
            target += self._shift
        return batch
