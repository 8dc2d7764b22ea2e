"""The door of the room: a file becomes a frame, a frame becomes tiles.

with open_frame(file, TilePlan((128, 128), 0.6, ImagerySettings())) as opened:
    for tile in opened.tiles():
        ...
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from edge_agent.domain import Clock, Frame, Tile
from edge_agent.imagery.cutting import cut
from edge_agent.imagery.errors import FrameError, FrameFault
from edge_agent.imagery.exif import PhotoFacts
from edge_agent.imagery.files import FrameFile, find_frame_files
from edge_agent.imagery.flat_ground import photo_georeference
from edge_agent.imagery.georeference import Georeference, Nowhere
from edge_agent.imagery.photo import Photo, header_facts
from edge_agent.imagery.raster import Raster
from edge_agent.imagery.settings import ImagerySettings
from edge_agent.imagery.source import Source
from edge_agent.imagery.tiling import Grid, plan_grid

__all__ = [
    "FrameError",
    "FrameFault",
    "FrameFile",
    "OpenFrame",
    "TilePlan",
    "find_frame_files",
    "open_frame",
]

_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH: Final = 24
"""Offset of the bit depth in a PNG file: signature, length and name of IHDR, width, height."""


@dataclass(frozen=True, slots=True)
class TilePlan:
    """What the model wants."""

    size: tuple[int, int]
    """Height and width of its input."""
    gsd_m: float
    """Metres per pixel that it was trained at."""
    settings: ImagerySettings = field(default_factory=ImagerySettings)


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """A frame and its tiles, as long as the file is open."""

    frame: Frame
    source: Source
    grid: Grid
    georeference: Georeference

    @property
    def tile_count(self) -> int:
        """Number of tiles, the same on every opening."""
        return self.grid.count

    @property
    def plan(self) -> str:
        """How the frame is cut: equal texts mean the same pixels in the same order.

        Stable across runs; another size, scale, overlap or stretch gives another text. Where the
        tiles are placed on the ground is no part of it.
        """
        return f"{self.grid.plan}; {self.source.rendering}"

    def tiles(self, start: int = 0) -> Iterator[Tile]:
        """Tiles from number `start` on, row by row; each is the same whatever `start`.

        Raises:
            FrameError: the file cannot be read any further.
        """
        gsd_m = self._tile_gsd_m()
        for piece in cut(self.source, self.grid, start):
            window = piece.window
            centre = (window.column + window.width / 2, window.row + window.height / 2)
            yield Tile(
                row=window.row,
                column=window.column,
                height=window.height,
                width=window.width,
                pixels=piece.pixels,
                gsd_m=gsd_m,
                nodata_share=piece.nodata_share,
                position=self.georeference.locate(*centre),
            )

    def _tile_gsd_m(self) -> float | None:
        if self.frame.gsd_m is None or self.grid.native:
            return self.frame.gsd_m
        return self.frame.gsd_m * self.grid.rows.window / self.grid.size[0]


@contextmanager
def open_frame(file: FrameFile, plan: TilePlan) -> Iterator[OpenFrame]:
    """Open a GeoTIFF or a photo.

    Raises:
        FrameError: the file is no frame that tiles could be cut from.
    """
    driver = _raster_driver(file)
    if driver is None:
        with _open_photo(file, plan) as opened:
            yield opened
    else:
        with _open_raster(file, plan, driver) as opened:
            yield opened


@contextmanager
def _open_photo(file: FrameFile, plan: TilePlan) -> Iterator[OpenFrame]:
    settings = plan.settings
    with Photo(file.path, settings.photo_memory_mib * 2**20) as photo:
        shape = (photo.height, photo.width)
        georeference, notes = _placed(photo.facts, shape, settings)
        yield _opened(
            file, plan, photo, shape, georeference, photo.facts, None, (*photo.notes, *notes)
        )


@contextmanager
def _open_raster(file: FrameFile, plan: TilePlan, driver: str) -> Iterator[OpenFrame]:
    settings = plan.settings
    cache_bytes = settings.block_cache_mib * 2**20
    max_bytes = None if driver == "GTiff" else settings.photo_memory_mib * 2**20
    with Raster(file.path, driver, cache_bytes, settings.raster_sigma_m, max_bytes) as raster:
        shape = (raster.height, raster.width)
        facts = header_facts(file.path)
        georeference, notes = raster.georeference, raster.notes
        if raster.crs is None and isinstance(georeference, Nowhere):
            # A camera's TIFF: it may say by EXIF what a map would say by its reference system.
            by_exif, exif_notes = _placed(facts, shape, settings)
            if by_exif.gsd_m is not None or facts.longitude is not None:
                georeference, notes = by_exif, (*notes, *exif_notes)
            if facts.orientation != 1:
                notes = (*notes, f"orientation {facts.orientation} of a TIFF is not applied")
        yield _opened(file, plan, raster, shape, georeference, facts, raster.crs, notes)


def _placed(
    facts: PhotoFacts, shape: tuple[int, int], settings: ImagerySettings
) -> tuple[Georeference, tuple[str, ...]]:
    trusted = settings.photo_heading == "from-photo"
    return photo_georeference(facts, shape, settings.gps_sigma_m, trust_heading=trusted)


def _opened(
    file: FrameFile,
    plan: TilePlan,
    source: Source,
    shape: tuple[int, int],
    georeference: Georeference,
    facts: PhotoFacts,
    crs: str | None,
    notes: tuple[str, ...],
) -> OpenFrame:
    height, width = shape
    grid = plan_grid(
        shape,
        georeference.gsd_m,
        plan.size,
        plan.gsd_m,
        overlap=plan.settings.overlap,
        resample=plan.settings.resample,
    )
    captured_at, clock = _capture_time(facts, file)
    frame = Frame(
        name=file.name,
        width=width,
        height=height,
        gsd_m=georeference.gsd_m,
        position=georeference.locate(width / 2, height / 2),
        captured_at=captured_at,
        clock=clock,
        crs=crs,
        notes=(*notes, *grid.notes),
    )
    return OpenFrame(frame, source, grid, georeference)


def _capture_time(facts: PhotoFacts, file: FrameFile) -> tuple[str | None, Clock]:
    if facts.captured_at is not None:
        return facts.captured_at, facts.clock
    try:
        return datetime.fromtimestamp(file.mtime_ns / 1e9, UTC).isoformat(), "file"
    except (ValueError, OverflowError, OSError):  # a broken card's idea of time
        return None, "unknown"


def _raster_driver(file: FrameFile) -> str | None:
    """GDAL's driver for what it reads better: TIFF, and PNG of 16 bits. None for photos."""
    try:
        with file.path.open("rb") as stream:
            head = stream.read(_PNG_BIT_DEPTH + 1)
    except OSError as error:
        raise FrameError("unreadable", f"cannot be opened: {error.strerror}") from error
    if not head:
        raise FrameError("empty", "the file is empty")
    if head.startswith(_TIFF):
        return "GTiff"
    return "PNG" if head.startswith(_PNG) and head[_PNG_BIT_DEPTH:] == b"\x10" else None
