"""One rendered survey for all tests of this room that only read it."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from edge_agent.rehearsal.survey import SurveyOrder, render_survey


@dataclass
class Rendered:
    """A survey on disk, read by nothing of ours."""

    root: Path

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        with (self.root / "truth.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @cached_property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.root / "survey.json").read_text())

    @cached_property
    def images(self) -> dict[str, np.ndarray]:
        found = {}
        for path in sorted((self.root / "frames").iterdir()):
            with Image.open(path) as image:
                found[f"frames/{path.name}"] = np.asarray(image.convert("RGB"))
        with rasterio.open(self.root / "orthomosaic.tif") as raster:
            found["orthomosaic.tif"] = raster.read().transpose(1, 2, 0)
        return found

    def pixels(self, row: dict[str, str]) -> np.ndarray:
        top, left = int(row["row"]), int(row["column"])
        bottom, right = top + int(row["height"]), left + int(row["width"])
        return self.images[row["frame"]][top:bottom, left:right]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """About 1500 tiles with 4 % novel and 3 % rare asked for."""
    root = tmp_path_factory.mktemp("rehearsal") / "survey"
    order = SurveyOrder(seed=777, tiles=1500, novel_share=0.04, rare_share=0.03)
    render_survey(order, root, force=False, progress=lambda share: None)
    return Rendered(root)
