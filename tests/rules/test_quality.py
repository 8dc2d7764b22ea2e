"""What stops before the model: no data and constant tiles."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.domain import Tile
from edge_agent.rules.quality import QualitySettings, assess


def tile(pixels: np.ndarray, nodata_share: float = 0.0) -> Tile:
    """A tile of these pixels."""
    return Tile(0, 0, *pixels.shape[:2], pixels, None, nodata_share, None)


def noise(low: int, high: int) -> np.ndarray:
    """A 64 px tile of uniform noise."""
    return np.random.default_rng(0).integers(low, high, (64, 64, 3), dtype=np.uint8)


def test_contrast_is_the_largest_channels_standard_deviation() -> None:
    """The evidence equals numpy's std of the most varied channel."""
    pixels = noise(0, 256)
    pixels[:, :, 0] //= 4
    finding = assess(tile(pixels), QualitySettings())
    assert finding.state == "ok"
    assert finding.evidence["contrast"] == pytest.approx(pixels.std(axis=(0, 1)).max())


@pytest.mark.parametrize(
    ("pixels", "share", "fault"),
    [
        (np.full((64, 64, 3), 200, np.uint8), 0.0, "constant"),
        (np.zeros((64, 64, 3), np.uint8), 1.0, "nodata"),
        (noise(0, 256), 0.51, "nodata"),
        (noise(0, 256), 0.5, None),
        (noise(100, 103), 0.0, "constant"),
        (noise(100, 105), 0.0, None),
    ],
)
def test_faults(pixels: np.ndarray, share: float, fault: str | None) -> None:
    """No data beyond half, or no contrast beyond one grey level, is a fault by name."""
    finding = assess(tile(pixels, share), QualitySettings())
    assert finding.evidence.get("fault") == fault
    assert finding.state == ("flag" if fault else "ok")


def test_padding_gives_a_constant_tile_no_contrast() -> None:
    """A flat tile with a black padded border is still constant."""
    pixels = np.full((64, 64, 3), 120, np.uint8)
    pixels[:20] = 0
    assert assess(tile(pixels, 20 / 64), QualitySettings()).evidence["fault"] == "constant"


def test_all_nodata_stops_whatever_the_setting() -> None:
    """A tile without one valid pixel never reaches the model, even when all shares are allowed."""
    black = np.zeros((32, 32, 3), np.uint8)
    settings = QualitySettings(max_nodata_share=1.0, min_contrast=0.0)
    assert assess(tile(black, 1.0), settings).evidence["fault"] == "nodata"
