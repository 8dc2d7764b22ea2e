"""The frozen values of the curation store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a sample stands; all but `WANTED` are ends, and named as in the receipts."""

    WANTED = "wanted"
    """Described; its pixels are on their way."""
    STORED = "stored"
    DUPLICATE = "duplicate"
    """Described; another sample brought the same bytes, and both share one picture."""
    SKIPPED = "skipped"
    """Described; the fleet has pixels so alike that these were not asked for."""
    REJECTED = "rejected"
    UNSUPPORTED = "unsupported"


WITH_PICTURE = (State.STORED, State.DUPLICATE)


@dataclass(frozen=True, slots=True, order=True)
class SampleKey:
    """What names a sample everywhere."""

    device: str
    sample_id: str


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Bytes `offset` up to, not including, `end`."""

    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class KnownSample:
    """What the store knows of a sample before it decides on a message about it."""

    state: State
    detail: str
    payload_sha256: bytes
    payload_size: int
    payload_type: str
    failures: int
    """How often its pixels arrived damaged."""
    held: tuple[Span, ...]
    """What has been received of pixels still under way, piece by piece: sorted, not overlapping."""


@dataclass(frozen=True, slots=True)
class Alike:
    """A picture that the fleet holds, and how many of 64 pHash bits differ."""

    key: SampleKey
    bits: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A payload that decoded: what it is and its size in pixels."""

    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a device kept a tile: a code like `score:entropy` and the numbers behind it."""

    code: str
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule said of a tile."""

    rule: str
    state: str
    evidence: Mapping[str, str | float | int | bool]


@dataclass(frozen=True, slots=True)
class Sample:
    """A described sample, as people look at it."""

    key: SampleKey
    state: State
    detail: str
    boot: int
    sequence: int
    survey: str
    frame: str
    row: int
    column: int
    width: int
    height: int
    gsd_m: float | None
    longitude: float | None
    latitude: float | None
    sigma_m: float | None
    captured_at: str | None
    clock: str
    bundle: str
    bundle_sha256: str
    policy: str
    value: float
    quality: float | None
    inclusion_probability: float | None
    probabilities: tuple[tuple[str, float], ...]
    """The most probable class first."""
    scores: Mapping[str, float]
    p_values: Mapping[str, float]
    findings: tuple[Finding, ...]
    reasons: tuple[Reason, ...]
    payload_sha256: str
    payload_size: int
    payload_type: str
    offered_ms: int
    settled_ms: int | None

    @property
    def label(self) -> str | None:
        """The most probable class."""
        return self.probabilities[0][0] if self.probabilities else None

    @property
    def probability(self) -> float | None:
        """Of the most probable class."""
        return self.probabilities[0][1] if self.probabilities else None

    @property
    def has_picture(self) -> bool:
        """Whether base holds its pixels."""
        return self.state in WITH_PICTURE
