"""The messages of the exchange, as frozen values. `codec` turns them into bytes and back.

Fields are only ever added, each with a default, and unknown ones are ignored; a change that
breaks a reader takes a new major version in the topic. Every number is finite.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

OFFER_MAX_SAMPLES = 64
OFFER_MAX_BYTES = 16 * 1024
CHUNK_MIN_DATA = 8 * 1024
CHUNK_MAX_DATA = 64 * 1024
PAYLOAD_MAX_BYTES = 16 * 1024 * 1024

SampleId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
"""A sample's uuid in lower-case hex; with the device id it is the key of a sample everywhere."""

Sha256 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Unsigned32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Unsigned63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Counters: SQLite and PostgreSQL hold signed 64-bit integers."""
Hash64 = Annotated[bytes, Meta(min_length=8, max_length=8)]
"""Big-endian; bytes, because the upper half of the unsigned range fits no signed integer."""
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Name = Annotated[str, Meta(max_length=128)]
Text = Annotated[str, Meta(max_length=1024)]
Scalar = bool | int | float | Text
Evidence = Annotated[dict[Name, Scalar], Meta(max_length=32)]
Numbers = Annotated[dict[Name, float], Meta(max_length=64)]
Shares = Annotated[dict[Name, Fraction], Meta(max_length=64)]


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all that is sent: a msgpack map, absent fields at their defaults."""


class Place(Message, frozen=True, kw_only=True):
    """Centre of a tile on WGS 84, in degrees, with its 1-sigma uncertainty in metres if known."""

    longitude: Annotated[float, Meta(ge=-180.0, le=180.0)]
    latitude: Annotated[float, Meta(ge=-90.0, le=90.0)]
    sigma_m: Annotated[float, Meta(ge=0.0)] | None = None


class Finding(Message, frozen=True, kw_only=True):
    """What one rule says of one tile, with its evidence."""

    rule: Name
    state: Literal["ok", "flag", "unknown", "inactive"]
    evidence: Evidence = {}


class Reason(Message, frozen=True, kw_only=True):
    """Why a tile was kept: a code (`score:entropy`, `audit`, ...) and the numbers behind it."""

    code: Name
    numbers: Numbers = {}


class Embedding(Message, frozen=True, kw_only=True):
    """A feature vector as int8: component i is `scale * values[i]`."""

    values: Annotated[bytes, Meta(max_length=4096)]
    scale: Annotated[float, Meta(ge=0.0)]


class SampleDescription(Message, frozen=True, kw_only=True):
    """All that base needs to decide whether it wants a sample's pixels, and to show why."""

    sample_id: SampleId
    boot: Unsigned63
    """How often the device has started; with `sequence` the order of samples, clocks aside."""
    sequence: Unsigned63
    survey: Name
    frame: Text
    row: Unsigned32
    """Pixel offset of the tile's top edge in its frame, in the frame's own pixels."""
    column: Unsigned32
    width: Unsigned32
    """Extent in the frame's own pixels (the payload may hold fewer, resampled ones)."""
    height: Unsigned32
    gsd_m: Annotated[float, Meta(gt=0.0)] | None = None
    """Ground sampling distance of the payload's pixels in metres."""
    place: Place | None = None
    captured_at: Annotated[str, Meta(max_length=40)] | None = None
    """ISO 8601 with offset where the source states one."""
    clock: Literal["gps", "exif", "file", "unknown"] = "unknown"
    bundle: Name
    """name@version"""
    bundle_sha256: Sha256
    policy: Name
    probabilities: Shares = {}
    """Class probabilities, most probable first; small ones may be left out."""
    scores: Numbers = {}
    """Higher = more out-of-distribution."""
    p_values: Shares = {}
    findings: Annotated[tuple[Finding, ...], Meta(max_length=32)] = ()
    reasons: Annotated[tuple[Reason, ...], Meta(max_length=32)] = ()
    value: Fraction
    quality: Annotated[float, Meta(ge=0.0, le=5.0)] | None = None
    inclusion_probability: Fraction | None = None
    """Of the audit arm: how probable it was that this tile was drawn."""
    payload_sha256: Sha256
    payload_size: Annotated[int, Meta(ge=1, le=PAYLOAD_MAX_BYTES)]
    payload_type: Literal["image/jpeg", "image/webp", "image/png"]
    perceptual_hash: Hash64 | None = None
    embedding: Embedding | None = None
    payload: Annotated[bytes, Meta(max_length=OFFER_MAX_BYTES)] | None = None
    """Inline pixels, when they are few enough to spare a round trip."""


class Offer(Message, frozen=True, kw_only=True):
    """device -> base: samples that wait on the device, the most valuable first."""

    samples: Annotated[
        tuple[SampleDescription, ...], Meta(min_length=1, max_length=OFFER_MAX_SAMPLES)
    ]


class ByteRange(Message, frozen=True, kw_only=True):
    """Bytes `offset` up to, not including, `end`; `end` is above `offset`."""

    offset: Unsigned32
    end: Unsigned32


class Answer(Message, frozen=True, kw_only=True):
    """What base wants of one offered sample: the missing ranges now, or to be asked later."""

    sample_id: SampleId
    ask: Literal["want", "later"]
    missing: Annotated[tuple[ByteRange, ...], Meta(max_length=256)] = ()
    retry_after_s: Annotated[float, Meta(ge=0.0, le=86400.0)] | None = None


class Want(Message, frozen=True, kw_only=True):
    """base -> device: the answers to one offer that call for more; the others are receipts."""

    answers: Annotated[tuple[Answer, ...], Meta(min_length=1, max_length=OFFER_MAX_SAMPLES)]


class Chunk(Message, frozen=True, kw_only=True):
    """device -> base: a piece of one payload, checked by its own CRC-32 (zlib's)."""

    sample_id: SampleId
    payload_sha256: Sha256
    payload_size: Annotated[int, Meta(ge=1, le=PAYLOAD_MAX_BYTES)]
    offset: Unsigned32
    crc32: Unsigned32
    data: Annotated[bytes, Meta(min_length=1, max_length=CHUNK_MAX_DATA)]


Outcome = Literal["stored", "duplicate", "skipped", "rejected", "unsupported"]


class Settlement(Message, frozen=True, kw_only=True):
    """The end of one sample's way, and in words why where it was not stored."""

    sample_id: SampleId
    outcome: Outcome
    detail: Text = ""


class Receipt(Message, frozen=True, kw_only=True):
    """base -> device, only after base's own commit: these samples may leave the outbox."""

    settlements: Annotated[tuple[Settlement, ...], Meta(min_length=1, max_length=OFFER_MAX_SAMPLES)]


class RuleState(Message, frozen=True, kw_only=True):
    """Whether a rule is at work on the device, and if not, why not."""

    rule: Name
    active: bool
    reason: Text = ""


class Status(Message, frozen=True, kw_only=True):
    """device -> base: counters and rule states; lossy by design (QoS 0)."""

    boot: Unsigned63
    agent_version: Name
    survey: Name | None = None
    bundle: Name | None = None
    policy: Name | None = None
    counters: Annotated[dict[Name, Unsigned63], Meta(max_length=128)] = {}
    rules: Annotated[tuple[RuleState, ...], Meta(max_length=64)] = ()


class Presence(Message, frozen=True, kw_only=True):
    """device -> base, retained: the birth message, and the last will with the same birth number."""

    online: bool
    birth: Unsigned63
    """Counts connections of this device; a will with an older number is out of date."""
    agent_version: Name
