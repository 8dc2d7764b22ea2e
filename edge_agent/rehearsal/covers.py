"""The classes of the rehearsal ground and the scale it is drawn at."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Plane: TypeAlias = npt.NDArray[np.floating[Any]]
"""One number per pixel; float32 wherever a whole ground is worked on."""
Classes: TypeAlias = npt.NDArray[np.uint8]

GSD_M: Final = 0.10
"""Metres per pixel of ground, frames and orthomosaic."""
PX: Final = 1.0 / GSD_M
"""Pixels per metre."""
TILE_PX: Final = 128
"""Side of a tile in pixels."""

LABELS: Final = (
    "soil", "grass", "shrub", "broadleaf", "conifer",
    "dead-tree", "water", "road", "roof", "orchid",
)  # fmt: skip
"""Class names; a class map holds indices into it. The last is the rare one."""

SOIL, GRASS, SHRUB, BROADLEAF, CONIFER, DEAD_TREE, WATER, ROAD, ROOF, ORCHID = range(len(LABELS))
RARE: Final = ORCHID
