"""Rasters whose samples are numbers of colours in a table."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import rasterio

from edge_agent.imagery.source import Block, Valid, both_valid
from edge_agent.imagery.stretch import Samples

Palette: TypeAlias = npt.NDArray[np.uint8]
"""(entries, 4), red, green, blue, alpha."""


def palette_of(dataset: rasterio.DatasetReader, band: int) -> Palette:
    """(entries, 4) RGBA; values without an entry are black."""
    entries = dataset.colormap(band)
    table = np.zeros((max(entries, default=0) + 1, 4), np.uint8)
    table[:, 3] = 255
    for value, colour in entries.items():
        table[value] = colour
    return table


def expanded(raw: Samples, valid: Valid | None, palette: Palette) -> Block:
    """Colours of the indices `raw`, (height, width); what is transparent is no data."""
    colours = palette[np.minimum(raw, len(palette) - 1)]
    valid = both_valid(valid, colours[..., 3] > 0)
    return Block(colours[..., :3] * valid[..., None], None if valid.all() else valid)
