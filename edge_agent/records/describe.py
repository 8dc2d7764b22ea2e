"""A kept tile as the description that is offered to base. Pure.

Nothing that a rule or a file name brings along may make a description that no offer can hold:
long texts are cut, numbers that are not finite are left out, and what is least needed goes first
where the whole would be too large.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import structs

from edge_agent.domain import Frame, Judged, Position, Verdict
from edge_agent.records.facts import most_probable
from edge_agent.records.identity import storable
from edge_agent.records.values import Survey
from sync_protocol import messages as m

MAX_BYTES: Final = 12 * 1024
"""Of one encoded description: well below an offer, which holds at least one whole."""
_NAME: Final = 128
_TEXT: Final = 200
_FRAME: Final = 1024
_MOMENT: Final = 40
_EVIDENCE: Final = 16
_ROWS: Final = 32
_EMBEDDING: Final = 4096

_encoder: Final = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Place:
    """A sample's id, and its place in the order of all."""

    sample_id: str
    boot: int
    sequence: int


def describe(place: Place, survey: Survey, frame: Frame, judged: Judged) -> m.SampleDescription:
    """The description of a kept tile, without its payload."""
    tile, verdict, payload = judged.tile, judged.verdict, judged.payload
    if payload is None or judged.payload_type is None:
        raise ValueError("a kept tile comes with its payload")
    prediction = judged.prediction
    return _fitting(
        m.SampleDescription(
            sample_id=place.sample_id,
            boot=place.boot,
            sequence=place.sequence,
            survey=_cut(survey.name, _NAME),
            frame=_cut(frame.name, _FRAME),
            row=tile.row,
            column=tile.column,
            width=tile.width,
            height=tile.height,
            gsd_m=_positive(tile.gsd_m),
            place=_place(tile.position),
            captured_at=_moment(frame.captured_at),
            clock=frame.clock,
            bundle=_cut(survey.bundle, _NAME),
            bundle_sha256=survey.bundle_sha256,
            policy=_cut(survey.policy, _NAME),
            probabilities=_probabilities(judged, survey.labels),
            scores=_numbers(prediction.scores if prediction else {}),
            p_values=_numbers(prediction.p_values if prediction else {}),
            findings=_findings(judged),
            reasons=_reasons(verdict),
            value=_between(verdict.value, 1.0) or 0.0,
            quality=_between(judged.quality, 5.0),
            inclusion_probability=_between(verdict.inclusion_probability, 1.0),
            payload_sha256=hashlib.sha256(payload).digest(),
            payload_size=len(payload),
            payload_type=judged.payload_type,  # type: ignore[arg-type]
            perceptual_hash=hash_bytes(judged.perceptual_hash),
            embedding=_embedding(prediction.embedding if prediction else None),
        )
    )


def encode_description(description: m.SampleDescription) -> bytes:
    """The description as it is kept in the outbox."""
    return _encoder.encode(description)


def hash_bytes(perceptual_hash: int | None) -> bytes | None:
    """The 64 bits, big-endian."""
    return None if perceptual_hash is None else perceptual_hash.to_bytes(8, "big")


def _fitting(description: m.SampleDescription) -> m.SampleDescription:
    """Small enough for an offer: evidence goes first, then the embedding, then numbers."""
    bare = tuple(structs.replace(f, evidence={}) for f in description.findings)
    coded = tuple(structs.replace(r, numbers={}) for r in description.reasons)
    steps: tuple[dict[str, Any], ...] = (
        {"findings": bare},
        {"embedding": None},
        {"reasons": coded},
        {"findings": ()},
        {"scores": {}, "p_values": {}},
        {"probabilities": {}},
        {"reasons": coded[:1]},
    )
    for step in steps:
        if len(_encoder.encode(description)) <= MAX_BYTES:
            break
        description = structs.replace(description, **step)
    return description


def _probabilities(judged: Judged, labels: tuple[str, ...]) -> dict[str, float]:
    return {
        _cut(labels[index] if index < len(labels) else f"class {index}", _NAME): probability
        for index, probability in most_probable(judged)
        if math.isfinite(probability)
    }


def _findings(judged: Judged) -> tuple[m.Finding, ...]:
    return tuple(
        m.Finding(
            rule=_cut(finding.rule, _NAME),
            state=finding.state,
            evidence=dict(_evidence(list(finding.evidence.items())[:_EVIDENCE])),
        )
        for finding in judged.findings[:_ROWS]
    )


def _reasons(verdict: Verdict) -> tuple[m.Reason, ...]:
    return tuple(
        m.Reason(code=_cut(reason.code, _NAME), numbers=_numbers(reason.numbers))
        for reason in verdict.reasons[:_ROWS]
    )


def _evidence(
    pairs: Iterable[tuple[str, float | int | str | bool]],
) -> Iterable[tuple[str, m.Scalar]]:
    for name, value in pairs:
        key = _cut(name, _NAME)
        if isinstance(value, str):
            yield key, _cut(value, _TEXT)
        elif isinstance(value, (bool, np.bool_)):
            yield key, bool(value)
        elif isinstance(value, (int, np.integer)) and -(2**63) <= value < 2**63:
            yield key, int(value)
        elif math.isfinite(number := _as_float(value)):
            yield key, number


def _numbers(numbers: Mapping[str, float]) -> dict[str, float]:
    pairs = list(numbers.items())[:64]
    return {_cut(name, _NAME): float(value) for name, value in pairs if math.isfinite(value)}


def _embedding(vector: npt.NDArray[np.float32] | None) -> m.Embedding | None:
    """As int8: the largest component is 127 steps."""
    if vector is None or not 0 < vector.size <= _EMBEDDING or not np.isfinite(vector).all():
        return None
    scale = float(np.abs(vector).max()) / 127.0
    if scale <= 0.0:
        return m.Embedding(values=bytes(vector.size), scale=0.0)
    values = np.rint(vector.astype(np.float64).ravel() / scale).astype(np.int8)
    return m.Embedding(values=values.tobytes(), scale=scale)


def _place(position: Position | None) -> m.Place | None:
    if position is None:
        return None
    longitude, latitude, sigma = position.longitude, position.latitude, position.sigma_m
    if not (-180.0 <= longitude <= 180.0 and -90.0 <= latitude <= 90.0):
        return None
    known = sigma is not None and math.isfinite(sigma) and sigma >= 0.0
    return m.Place(longitude=longitude, latitude=latitude, sigma_m=sigma if known else None)


def _moment(captured_at: str | None) -> str | None:
    if captured_at is None:
        return None
    clean = storable(captured_at)
    return clean if len(clean) <= _MOMENT else None


def _between(value: float | None, most: float) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return min(max(float(value), 0.0), most)


def _positive(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value > 0.0 else None


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _cut(text: str, most: int) -> str:
    clean = storable(text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"
