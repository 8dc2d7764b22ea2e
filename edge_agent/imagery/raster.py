"""GeoTIFFs and other rasters, read through GDAL window by window: any size, bounded memory."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import rasterio
from rasterio._env import catch_errors as quiet_gdal
from rasterio._err import CPLE_BaseError
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from edge_agent.imagery.bands import Bands, choose_bands
from edge_agent.imagery.errors import FrameError, check_photo_memory
from edge_agent.imagery.georeference import Georeference, georeference_of
from edge_agent.imagery.palette import expanded, palette_of
from edge_agent.imagery.source import Block, Valid, both_valid
from edge_agent.imagery.stretch import Samples, Stretch, choose_stretch
from edge_agent.imagery.tiling import Window

# GDAL's complaints reach the operator once, as the message of a FrameError.
logging.getLogger("rasterio").setLevel(logging.CRITICAL)

MAX_BLOCK_BYTES: Final = 128 * 2**20
_SAMPLED_BLOCKS = 256
_SAMPLED_BYTES: Final = 4 * MAX_BLOCK_BYTES
"""Decoded at most before the first tile: seconds on a small computer, not minutes."""
_SAMPLED_PIXELS = 1 << 20
_NUMPY_NAMES: Final = {"complex_int16": "complex64", "complex_int32": "complex64"}
_SHORT = re.compile(r"got \d+ bytes, expected|cannot read \d+ bytes|read error", re.IGNORECASE)


@contextmanager
def _as_frame_error(what: str) -> Iterator[None]:
    """Run GDAL without a word of its own, and say what failed.

    rasterio's own handler writes a traceback to stderr when a damaged file makes GDAL quote bytes
    that are no UTF-8. Handlers belong to a thread: other users of GDAL keep theirs.
    """
    try:
        with quiet_gdal():
            yield
    except (RasterioError, CPLE_BaseError, OSError, ValueError) as error:
        raise _explained(error, what) from error


def _explained(error: BaseException, what: str) -> FrameError:
    """GDAL says `see previous exception`: the innermost one knows."""
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 8:
        causes.append(" ".join(str(cause).split()))
        cause = cause.__cause__
    if any(_SHORT.search(text) for text in causes):
        return FrameError("truncated", f"{what}: the file ends too early ({causes[-1]})")
    return FrameError("corrupt", f"{what} ({causes[-1]})")


class Raster:
    """An open raster; a context manager. Raises FrameError and nothing else for bad files."""

    def __init__(
        self,
        path: Path,
        driver: str,
        cache_bytes: int,
        sigma_m: float,
        max_bytes: int | None = None,
    ) -> None:
        """`max_bytes` is for formats that must be decoded from their beginning."""
        self._max_bytes = max_bytes
        # The cache is global to GDAL and its size is in bytes here, not in MB.
        self._env = rasterio.Env(GDAL_CACHEMAX=cache_bytes, CPL_DEBUG=False)
        self._env.__enter__()
        try:
            self._open(path, driver, sigma_m)
        except BaseException:
            self._env.__exit__()
            raise

    def _open(self, path: Path, driver: str, sigma_m: float) -> None:
        with warnings.catch_warnings(), _as_frame_error("not readable as a raster"):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            # The driver is stated: a file that only pretends to be a TIFF may name other files.
            self._dataset = rasterio.open(path.absolute(), driver=driver)
        try:
            with _as_frame_error("header makes no sense"):
                self._prepare(sigma_m)
        except BaseException:
            self._dataset.close()
            raise

    def _prepare(self, sigma_m: float) -> None:
        dataset = self._dataset
        self.height, self.width = int(dataset.height), int(dataset.width)
        self._bands: Bands = choose_bands([c.name.lower() for c in dataset.colorinterp])
        self._type = _sample_type(dataset, self._bands)
        if self._max_bytes is not None:
            needed = self.width * self.height * dataset.count * self._type.itemsize
            check_photo_memory(self.width, self.height, needed, self._max_bytes)
        self._check_blocks()
        flags = dataset.mask_flag_enums[self._bands.colours[0] - 1]
        self._nodata = self._nodata_value() if MaskFlags.nodata in flags else None
        self._masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        self._palette = palette_of(dataset, self._bands.colours[0]) if self._bands.palette else None
        self._stretch = self._choose_stretch()
        self.georeference: Georeference
        self.georeference, self.crs, place_notes = georeference_of(dataset, sigma_m)
        notes = [*self._bands.notes, *place_notes]
        if self._stretch is not None:
            notes.append(self._stretch.note)
        if dataset.subdatasets:
            notes.append(f"holds {len(dataset.subdatasets)} images: only the first is read")
        self.notes = tuple(notes)

    def __enter__(self) -> Raster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._dataset.close()
        self._env.__exit__()

    @property
    def bytes_per_pixel(self) -> int:
        """Raw samples, their 8-bit forms and masks."""
        return len(self._bands.colours) * (self._type.itemsize + 3) + 2

    @property
    def rendering(self) -> str:
        """Stretched between which values, if at all."""
        if self._stretch is None:
            return "as stored"
        return f"from {self._stretch.low!r} to {self._stretch.high!r}"

    def read(self, window: Window) -> Block:
        """The window's pixels in 8 bits, 0 where there is no data.

        Raises:
            FrameError: `corrupt` or `truncated`.
        """
        raw, valid = self._read_raw(window)
        if self._palette is not None:
            return expanded(raw[..., 0], valid, self._palette)
        pixels = raw if self._stretch is None else self._stretch.apply(raw)
        if valid is not None and valid.all():
            valid = None
        if valid is not None:
            np.multiply(pixels, valid[..., None], out=pixels)
        return Block(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), valid)

    def _read_raw(self, window: Window) -> tuple[Samples, Valid | None]:
        """Samples (height, width, bands) in the file's type."""
        colours = self._bands.colours
        area = RasterWindow(window.column, window.row, window.width, window.height)
        with _as_frame_error(f"pixels from row {window.row} on cannot be read"):
            # Interleaved as tiles will be: GDAL's own copying is faster than one per tile.
            raw: Samples = np.empty((window.height, window.width, len(colours)), self._type)
            self._dataset.read(list(colours), window=area, out=raw.transpose(2, 0, 1))
            valid: Valid | None = None
            if self._bands.alpha is not None:
                valid = self._dataset.read(self._bands.alpha, window=area) > 0
            elif self._masked:
                valid = self._dataset.read_masks(colours[0], window=area) > 0
        if self._nodata is not None:
            present = [raw[..., band] != self._nodata for band in range(len(colours))]
            valid = both_valid(valid, np.logical_or.reduce(present))
        if self._type.kind == "f":
            finite = [np.isfinite(raw[..., band]) for band in range(len(colours))]
            valid = both_valid(valid, np.logical_and.reduce(finite))
        return raw, valid

    def _check_blocks(self) -> None:
        """GDAL must hold a whole block; one strip of the size of the raster is not bounded."""
        rows, columns = self._dataset.block_shapes[0]
        needed = self._bytes_per_block()
        if needed > MAX_BLOCK_BYTES:
            raise FrameError(
                "block-too-large",
                f"stored in blocks of {columns} x {rows} px, {needed >> 20} MiB each: "
                "rewrite it with gdal_translate -co TILED=YES",
            )

    def _bytes_per_block(self) -> int:
        rows, columns = self._dataset.block_shapes[0]
        return int(rows * columns * self._type.itemsize * self._dataset.count)

    def _nodata_value(self) -> float | None:
        value = self._dataset.nodatavals[self._bands.colours[0] - 1]
        return None if value is None or math.isnan(value) else value

    def _choose_stretch(self) -> Stretch | None:
        if self._type == np.uint8:
            bits = self._dataset.tags(self._bands.colours[0], ns="IMAGE_STRUCTURE").get("NBITS")
            if bits is None or self._bands.palette or not 0 < int(bits) < 8:
                return None
            top = 2 ** int(bits) - 1
            return Stretch(0.0, float(top), f"{bits} bits per sample: 0..{top} stretched to 8 bits")
        if self._bands.palette:
            return None
        return choose_stretch(self._sample(), floating=self._type.kind == "f")

    def _sample(self) -> Samples:
        """Valid samples of some blocks spread evenly; blocks that cannot be read are left to fail
        where their tiles are due."""
        most = max(1, min(_SAMPLED_BLOCKS, _SAMPLED_BYTES // self._bytes_per_block()))
        shape = self._dataset.block_shapes[0]
        windows = list(_spread_blocks(self.height, self.width, shape, most))
        per_block = _SAMPLED_PIXELS // len(windows)
        parts = []
        failure: FrameError | None = None
        for window in windows:
            try:
                raw, valid = self._read_raw(window)
            except FrameError as error:
                failure = error
                continue
            chosen = raw.reshape(-1, raw.shape[2]) if valid is None else raw[valid]
            parts.append(chosen[:: max(1, len(chosen) // per_block)].ravel())
        if not parts and failure is not None:
            raise failure
        return np.concatenate(parts)


def _sample_type(dataset: rasterio.DatasetReader, bands: Bands) -> np.dtype[Any]:
    names = sorted({dataset.dtypes[number - 1] for number in bands.colours})
    if len(names) > 1:
        raise FrameError("unsupported-type", f"bands of several types: {', '.join(names)}")
    kind: np.dtype[Any] = np.dtype(_NUMPY_NAMES.get(names[0], names[0]))
    if kind.kind not in "uif":
        raise FrameError("unsupported-type", f"samples of type {names[0]}: whole or real needed")
    return kind


def _spread_blocks(height: int, width: int, shape: tuple[int, int], most: int) -> Iterator[Window]:
    """At most `most` blocks, as evenly over rows and columns as their shape lets."""
    rows, columns = -(-height // shape[0]), -(-width // shape[1])
    across = min(columns, math.isqrt(most))
    down = min(rows, most // across)
    for i in range(down):
        for j in range(across):
            top = (2 * i + 1) * rows // (2 * down) * shape[0]
            left = (2 * j + 1) * columns // (2 * across) * shape[1]
            yield Window(top, left, min(shape[0], height - top), min(shape[1], width - left))
