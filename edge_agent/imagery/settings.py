"""`[imagery]` of the settings file."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Sigma = Annotated[float, Meta(gt=0.0, le=100_000.0)]


class ImagerySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How files are found and cut into tiles."""

    overlap: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    """Share of a tile's side that it has in common with the next one."""
    resample: Literal["bundle-gsd", "native"] = "bundle-gsd"
    """`bundle-gsd` shows the model ground at the scale it was trained on; `native` cuts the
    frame's own pixels whatever their scale."""
    raster_sigma_m: Sigma = 1.0
    """How far off a GeoTIFF's georeference may be, 1 sigma in metres."""
    gps_sigma_m: Sigma = 5.0
    """How far off a photo's GPS position may be, where the photo does not say it itself."""
    photo_heading: Literal["from-photo", "unknown"] = "from-photo"
    """Some cameras that look straight down store every second flight line upside down and still
    state the aircraft's heading: `unknown` then places all tiles of a photo at its centre, with
    the uncertainty that this costs."""
    photo_memory_mib: Annotated[int, Meta(ge=1, le=16_384)] = 200
    """JPEG, PNG and WebP photos that take more memory to decode are refused: 4 bytes a pixel,
    grey 1; progressive JPEG 7 at 4:2:0 and 10 without subsampling; WebP 20. GeoTIFFs are read
    piece by piece and may have any size."""
    block_cache_mib: Annotated[int, Meta(ge=8, le=4096)] = 64
    """Memory for blocks of GeoTIFFs that several tiles share."""
    settle_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 2.0
    """Watch mode: a file whose size and time have not changed for so long is complete."""
    poll_s: Annotated[float, Meta(ge=0.05, le=3600.0)] = 1.0
    """Watch mode: pause between two looks into the folder."""
