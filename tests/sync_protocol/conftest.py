"""The table of golden messages, and strategies for any message the contract allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from sync_protocol import messages as m

FOLDER = Path(__file__).parent / "golden"

SAMPLE = "00112233445566778899aabbccddeeff"
OTHER = "ffeeddccbbaa99887766554433221100"


def _least(**more: Any) -> m.SampleDescription:
    fields: dict[str, Any] = {
        "sample_id": SAMPLE,
        "boot": 1,
        "sequence": 2,
        "survey": "north field",
        "frame": "100MEDIA/DJI_0042.JPG",
        "row": 0,
        "column": 256,
        "width": 256,
        "height": 256,
        "bundle": "scenes-aerial@1.0.0",
        "bundle_sha256": bytes(range(32)),
        "policy": "0123abcd",
        "value": 0.5,
        "payload_sha256": bytes(range(32, 64)),
        "payload_size": 4321,
        "payload_type": "image/webp",
    }
    return m.SampleDescription(**(fields | more))


FULL = _least(
    boot=2**63 - 1,
    sequence=0,
    row=2**32 - 1,
    gsd_m=0.0213,
    place=m.Place(longitude=-180.0, latitude=50.82, sigma_m=3.5),
    captured_at="2026-03-01T11:22:33.5+01:00",
    clock="gps",
    probabilities={"forest": 0.75, "rivière": 0.2},
    scores={"entropy": 0.8, "max_logit": -3.25},
    p_values={"entropy": 0.0625},
    findings=(
        m.Finding(
            rule="species_range",
            state="flag",
            evidence={"species": "Quercus robur", "distance_m": 1250.5, "sure": True, "near": 3},
        ),
        m.Finding(rule="flicker", state="inactive"),
    ),
    reasons=(m.Reason(code="score:entropy", numbers={"p": 0.0625}), m.Reason(code="audit")),
    quality=4.25,
    inclusion_probability=0.02,
    perceptual_hash=b"\xff" * 8,
    embedding=m.Embedding(values=bytes([0, 127, 128, 255]), scale=0.015625),
    payload=b"RIFF....WEBP",
    payload_size=12,
)

GOLDEN: dict[str, Any] = {
    "offer_least": m.Offer(samples=(_least(),)),
    "offer_full": m.Offer(samples=(FULL, _least(sample_id=OTHER, payload_type="image/png"))),
    "want": m.Want(
        answers=(
            m.Answer(
                sample_id=SAMPLE,
                ask="want",
                missing=(
                    m.ByteRange(offset=0, end=1),
                    m.ByteRange(offset=65_536, end=2**32 - 1),
                ),
            ),
            m.Answer(sample_id=OTHER, ask="later", retry_after_s=60.5),
        )
    ),
    "chunk": m.Chunk(
        sample_id=SAMPLE,
        payload_sha256=bytes(32),
        payload_size=70_000,
        offset=65_536,
        crc32=0xCBF43926,  # of b"123456789", the check value of CRC-32
        data=b"123456789",
    ),
    "receipt": m.Receipt(
        settlements=(
            m.Settlement(sample_id=SAMPLE, outcome="stored"),
            m.Settlement(sample_id=OTHER, outcome="rejected", detail="not a picture: 0 × 0"),
        )
    ),
    "status": m.Status(
        boot=7,
        agent_version="0.1.0",
        survey="north field",
        bundle="scenes-aerial@1.0.0",
        policy="0123abcd",
        counters={"tiles_seen": 123_456, "tiles_kept": 0},
        rules=(m.RuleState(rule="species_range", active=False, reason="no ranges loaded"),),
    ),
    "status_least": m.Status(boot=0, agent_version="0.1.0"),
    "presence": m.Presence(online=True, birth=7, agent_version="0.1.0"),
    "will": m.Presence(online=False, birth=7, agent_version="0.1.0"),
}


def read_golden(name: str) -> bytes:
    """The committed bytes: hexadecimal digits, white space ignored."""
    return bytes.fromhex((FOLDER / f"{name}.hex").read_text(encoding="ascii"))


@pytest.fixture(scope="session")
def golden() -> dict[str, tuple[Any, bytes]]:
    """Name -> message and its bytes."""
    return {name: (message, read_golden(name)) for name, message in GOLDEN.items()}


# Any message within its bounds. Text is any Unicode but surrogates, which UTF-8 cannot hold.

_letters = st.characters(exclude_categories=("Cs",))
_name = st.text(_letters, max_size=128)
_text = st.text(_letters, max_size=60)
_id = st.text("0123456789abcdef", min_size=32, max_size=32)
_sha = st.binary(min_size=32, max_size=32)
_u32 = st.integers(0, 2**32 - 1)
_u63 = st.integers(0, 2**63 - 1)
_number = st.floats(allow_nan=False, allow_infinity=False)
_positive = st.floats(0.0, exclude_min=True, allow_nan=False, allow_infinity=False)
_no_less_than_0 = st.floats(0.0, allow_nan=False, allow_infinity=False)
_fraction = st.floats(0.0, 1.0)
_numbers = st.dictionaries(_name, _number, max_size=4)
_shares = st.dictionaries(_name, st.floats(0.0, 1.0), max_size=4)
_scalar = st.one_of(st.booleans(), st.integers(-(2**63), 2**64 - 1), _number, _text)


def _some(of: st.SearchStrategy[Any], most: int, least: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(of, min_size=least, max_size=most).map(tuple)


def _maybe(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), of)


_place = st.builds(
    m.Place,
    longitude=st.floats(-180.0, 180.0),
    latitude=st.floats(-90.0, 90.0),
    sigma_m=_maybe(_no_less_than_0),
)
_finding = st.builds(
    m.Finding,
    rule=_name,
    state=st.sampled_from(["ok", "flag", "unknown", "inactive"]),
    evidence=st.dictionaries(_name, _scalar, max_size=4),
)
_description = st.builds(
    m.SampleDescription,
    sample_id=_id,
    boot=_u63,
    sequence=_u63,
    survey=_name,
    frame=_text,
    row=_u32,
    column=_u32,
    width=_u32,
    height=_u32,
    gsd_m=_maybe(_positive),
    place=_maybe(_place),
    captured_at=_maybe(st.text(_letters, max_size=40)),
    clock=st.sampled_from(["gps", "exif", "file", "unknown"]),
    bundle=_name,
    bundle_sha256=_sha,
    policy=_name,
    probabilities=_shares,
    scores=_numbers,
    p_values=_shares,
    findings=_some(_finding, 2),
    reasons=_some(st.builds(m.Reason, code=_name, numbers=_numbers), 2),
    value=_fraction,
    quality=_maybe(st.floats(0.0, 5.0)),
    inclusion_probability=_maybe(_fraction),
    payload_sha256=_sha,
    payload_size=st.integers(1, 16 * 1024 * 1024),
    payload_type=st.sampled_from(["image/jpeg", "image/webp", "image/png"]),
    perceptual_hash=_maybe(st.binary(min_size=8, max_size=8)),
    embedding=_maybe(st.builds(m.Embedding, values=st.binary(max_size=64), scale=_no_less_than_0)),
    payload=_maybe(st.binary(max_size=64)),
)


@st.composite
def _ranges(draw: st.DrawFn) -> m.ByteRange:
    offset = draw(st.integers(0, 2**32 - 2))
    return m.ByteRange(offset=offset, end=draw(st.integers(offset + 1, 2**32 - 1)))


@st.composite
def _chunks(draw: st.DrawFn) -> m.Chunk:
    data = draw(st.binary(min_size=1, max_size=200))
    size = draw(st.integers(len(data), m.PAYLOAD_MAX_BYTES))
    return m.Chunk(
        sample_id=draw(_id),
        payload_sha256=draw(_sha),
        payload_size=size,
        offset=draw(st.integers(0, size - len(data))),
        crc32=draw(_u32),
        data=data,
    )


_answer = st.builds(
    m.Answer,
    sample_id=_id,
    ask=st.sampled_from(["want", "later"]),
    missing=_some(_ranges(), 4),
    retry_after_s=_maybe(st.floats(0.0, 86_400.0)),
)
_settlement = st.builds(
    m.Settlement,
    sample_id=_id,
    outcome=st.sampled_from(["stored", "duplicate", "skipped", "rejected", "unsupported"]),
    detail=_text,
)

MESSAGES: st.SearchStrategy[Any] = st.one_of(
    st.builds(m.Offer, samples=_some(_description, 3, 1)),
    st.builds(m.Want, answers=_some(_answer, 6, 1)),
    _chunks(),
    st.builds(m.Receipt, settlements=_some(_settlement, 6, 1)),
    st.builds(
        m.Status,
        boot=_u63,
        agent_version=_name,
        survey=_maybe(_name),
        bundle=_maybe(_name),
        policy=_maybe(_name),
        counters=st.dictionaries(_name, _u63, max_size=6),
        rules=_some(st.builds(m.RuleState, rule=_name, active=st.booleans(), reason=_text), 3),
    ),
    st.builds(m.Presence, online=st.booleans(), birth=_u63, agent_version=_name),
)


@pytest.fixture(scope="session")
def any_message() -> st.SearchStrategy[Any]:
    """Every kind of message, every field anywhere within its bounds."""
    return MESSAGES
