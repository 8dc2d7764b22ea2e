"""The frozen values of the curation store."""

from __future__ import annotations

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
    """What has been received of pixels still under way: sorted, not overlapping."""


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
