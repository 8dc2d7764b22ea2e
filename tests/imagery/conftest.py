"""Small rasters and photos made on the spot, and short ways to open them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from edge_agent.domain import Frame, Tile
from edge_agent.imagery.frames import OpenFrame, TilePlan, find_frame_files, open_frame
from edge_agent.imagery.settings import ImagerySettings

Opener: TypeAlias = Callable[..., Any]
UTM17_HERE = from_origin(404_000.0, 3_285_000.0, 0.6, 0.6)


@pytest.fixture
def write_tif(tmp_path: Path) -> Callable[..., Path]:
    """Write bands (count, height, width) as a GeoTIFF of 0.6 m in UTM 17 N unless told else."""

    def write(
        bands: npt.NDArray[Any],
        name: str = "frame.tif",
        *,
        colours: tuple[Any, ...] = (),
        mask: npt.NDArray[Any] | None = None,
        colormap: dict[int, tuple[int, ...]] | None = None,
        tags: dict[str, str] | None = None,
        **profile: Any,
    ) -> Path:
        path = tmp_path / name
        profile = {"crs": "EPSG:32617", "transform": UTM17_HERE, "driver": "GTiff"} | profile
        count, height, width = bands.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
                rasterio.open(
                    path, "w", count=count, height=height, width=width, dtype=bands.dtype, **profile
                ) as dataset,
            ):
                if colours:
                    dataset.colorinterp = colours
                dataset.write(bands)
                if tags is not None:
                    dataset.update_tags(**tags)
                if mask is not None:
                    dataset.write_mask(mask)
                if colormap is not None:
                    dataset.write_colormap(1, colormap)
        return path

    return write


@pytest.fixture
def opened() -> Opener:
    """`with opened(path, size=32, gsd=0.6, **settings) as frame`."""

    @contextmanager
    def open_path(
        path: Path, size: int | tuple[int, int] = 32, gsd: float = 0.6, **settings: Any
    ) -> Iterator[OpenFrame]:
        (file,) = find_frame_files(path)
        both = (size, size) if isinstance(size, int) else size
        with open_frame(file, TilePlan(both, gsd, ImagerySettings(**settings))) as frame:
            yield frame

    return open_path


@pytest.fixture
def read(opened: Opener) -> Callable[..., tuple[Frame, list[Tile]]]:
    """A file's frame and all its tiles."""

    def read_path(path: Path, *args: Any, **settings: Any) -> tuple[Frame, list[Tile]]:
        with opened(path, *args, **settings) as frame:
            tiles = list(frame.tiles())
            assert len(tiles) == frame.tile_count
            return frame.frame, tiles

    return read_path


@pytest.fixture
def coded() -> Callable[[int, int], npt.NDArray[np.uint8]]:
    """(3, height, width): row modulo 251, column modulo 241, and both mixed: no place is alike."""

    def make(height: int, width: int) -> npt.NDArray[np.uint8]:
        rows, columns = np.mgrid[:height, :width]
        bands = (rows % 251, columns % 241, (7 * rows + 13 * columns) % 256)
        return np.stack(bands).astype(np.uint8)

    return make
