"""Small sets of images, written to disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Paint = Callable[..., Path]


@pytest.fixture
def paint() -> Paint:
    """Writes a noisy image around a colour: the same seed gives the same pixels."""

    def make(path: Path, level: int = 40, seed: int = 0, size: tuple[int, int] = (40, 40)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(-30, 31, (8, 8, 3))
        coarse = np.clip(level + noise, 0, 255).astype(np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
        return path

    return make
