"""Is there anything to see on a tile? What fails here never reaches the model."""

from __future__ import annotations

import math
from typing import Annotated, Final

import numpy as np
from msgspec import Meta, Struct

from edge_agent.domain import Finding, Tile

RULE: Final = "quality"


class QualitySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """When a tile is not worth a look."""

    max_nodata_share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    """Tiles with a larger share of pixels without data stop here."""
    min_contrast: Annotated[float, Meta(ge=0.0, le=255.0)] = 1.0
    """Standard deviation of the valid pixels in grey levels; at or below it a tile is constant."""


def assess(tile: Tile, settings: QualitySettings) -> Finding:
    """`flag` with `fault` = nodata or constant, else `ok`; the evidence holds both measures."""
    contrast = _contrast(tile)
    evidence: dict[str, float | int | str | bool] = {
        "nodata_share": tile.nodata_share,
        "contrast": contrast,
    }
    if tile.nodata_share >= 1.0 or tile.nodata_share > settings.max_nodata_share:
        return Finding(RULE, "flag", evidence | {"fault": "nodata"})
    if contrast <= settings.min_contrast:
        return Finding(RULE, "flag", evidence | {"fault": "constant"})
    return Finding(RULE, "ok", evidence)


def _contrast(tile: Tile) -> float:
    """Largest standard deviation among the channels, in grey levels, padding left out.

    Pixels without data are 0 in all channels; real black pixels left out with them only raise
    the bar for a tile that is black almost everywhere.
    """
    flat = tile.pixels.reshape(-1, 3)
    if tile.nodata_share > 0.0:
        flat = flat[flat.any(axis=1)]
    if len(flat) == 0:
        return 0.0
    # Centred first: single precision is then exact enough at any brightness.
    channels = np.ascontiguousarray(flat.T, dtype=np.float32)
    channels -= channels.mean(axis=1, keepdims=True)
    return math.sqrt(max(float(np.dot(channel, channel)) / len(flat) for channel in channels))
