"""The frozen values that a tile's way hands from room to room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""(height, width, 3), RGB."""

FindingState = Literal["ok", "flag", "unknown", "inactive"]
Clock = Literal["gps", "exif", "file", "unknown"]


@dataclass(frozen=True, slots=True)
class Position:
    """A point on WGS 84 in degrees; `sigma_m` is its 1-sigma uncertainty, None if unknown."""

    longitude: float
    latitude: float
    sigma_m: float | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One image as captured."""

    name: str
    """Path below the watched folder, with forward slashes: the same on every machine."""
    width: int
    height: int
    gsd_m: float | None
    """Metres per pixel, None when the frame does not say enough to know."""
    position: Position | None
    """Of the frame's centre."""
    captured_at: str | None
    """ISO 8601, with an offset where the source states one."""
    clock: Clock
    crs: str | None
    notes: tuple[str, ...] = ()
    """What an operator should know of how this frame was read (no CRS, stretched 16 bit, ...)."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A square cut of a frame, at the model's input size."""

    row: int
    """Pixel offset of the top edge in the frame's own pixels."""
    column: int
    height: int
    """Extent in the frame's own pixels."""
    width: int
    pixels: Pixels
    """As the model sees them: resampled at most once; nodata is 0."""
    gsd_m: float | None
    """Metres per pixel of `pixels`."""
    nodata_share: float
    """Share of the window without valid pixels, in [0, 1]."""
    position: Position | None
    """Of the tile's centre."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model says of N tiles, before anybody has judged it."""

    logits: npt.NDArray[np.floating]
    """(N, C); of an ensemble the mean of its members'."""
    features: npt.NDArray[np.floating] | None = None
    """(N, D) embedding, the input of the last linear layer; None when the bundle exposes none."""
    member_logits: npt.NDArray[np.floating] | None = None
    """(M, N, C) of an ensemble's M members; None for a single model."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a bundle says of one tile."""

    probabilities: npt.NDArray[np.float64]
    """(C,), softmax of the logits."""
    embedding: npt.NDArray[np.float32] | None
    """(D,), None when the bundle exposes none."""
    scores: Mapping[str, float]
    """Score name -> value, higher = more out-of-distribution."""
    p_values: Mapping[str, float]
    """Score name -> conformal p-value in (0, 1], small = unusual; empty without calibration."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of one tile."""

    rule: str
    state: FindingState
    evidence: Mapping[str, float | int | str | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a verdict with the numbers behind it; `code` like `score:entropy`, `audit`."""

    code: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Keep or skip, what it is worth, and why."""

    keep: bool
    value: float
    """In [0, 1]: what the tile is worth to the next model."""
    reasons: tuple[Reason, ...]
    """Not empty; the first decided."""
    inclusion_probability: float | None = None
    """Of the audit arm: how probable it was that this tile was drawn."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A tile with all that was found out about it, on its way into the records."""

    tile: Tile
    prediction: Prediction | None
    """None for a tile that never reached the model (no valid pixels, constant)."""
    findings: tuple[Finding, ...]
    quality: float | None
    content_sha256: bytes
    """SHA-256 of the pixels, 32 bytes."""
    perceptual_hash: int | None
    """64-bit pHash, None for tiles with too little texture to tell apart by it."""
    verdict: Verdict
    payload: bytes | None
    """The encoded pixels of a kept tile."""
    payload_type: str | None
