"""Samples as described by devices: looked up, written down, settled."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from server_sync.domain import KnownSample, SampleKey, State
from server_sync.store import parts
from server_sync.store.schema import sample_reasons, samples
from sync_protocol import messages as m


def known(connection: Connection, key: SampleKey) -> KnownSample | None:
    """What the store knows of a sample, its row locked until the transaction ends.

    The lock keeps two workers that each receive a last chunk from both finding it incomplete;
    SQLite has one writer anyway and ignores it.
    """
    query = select(
        samples.c.state,
        samples.c.detail,
        samples.c.failures,
        samples.c.payload_sha256,
        samples.c.payload_size,
        samples.c.payload_type,
    ).where(_is(key))
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        return None
    state = State(row.state)
    return KnownSample(
        state=state,
        detail=row.detail,
        payload_sha256=bytes.fromhex(row.payload_sha256),
        payload_size=row.payload_size,
        payload_type=row.payload_type,
        failures=row.failures,
        held=parts.held(connection, key) if state is State.WANTED else (),
    )


def describe(
    connection: Connection,
    device: str,
    sample: m.SampleDescription,
    state: State,
    detail: str,
    now_ms: int,
    *,
    exists: bool,
) -> None:
    """Write a description down, over an older one of the same sample if there is one."""
    key = SampleKey(device, sample.sample_id)
    values = _columns(sample) | {
        "state": str(state),
        "detail": detail,
        "failures": 0,
        "settled_ms": None if state is State.WANTED else now_ms,
    }
    if exists:
        connection.execute(update(samples).where(_is(key)).values(values))
        connection.execute(
            delete(sample_reasons).where(
                sample_reasons.c.device == key.device,
                sample_reasons.c.sample_id == key.sample_id,
            )
        )
    else:
        names = {"device": key.device, "sample_id": key.sample_id, "offered_ms": now_ms}
        connection.execute(insert(samples).values(values | names))
    codes = dict.fromkeys(reason.code for reason in sample.reasons)
    if codes:
        connection.execute(
            insert(sample_reasons),
            [{"device": key.device, "sample_id": key.sample_id, "code": code} for code in codes],
        )


def settle(
    connection: Connection, key: SampleKey, state: State, detail: str, failures: int, now_ms: int
) -> None:
    """Move a described sample to `state`."""
    connection.execute(
        update(samples)
        .where(_is(key))
        .values(
            state=str(state),
            detail=detail,
            failures=failures,
            settled_ms=None if state is State.WANTED else now_ms,
        )
    )


def look_of(connection: Connection, key: SampleKey) -> tuple[str, str | None]:
    """The survey and the pHash in hex of a described sample."""
    row = connection.execute(select(samples.c.survey, samples.c.phash).where(_is(key))).one()
    return row.survey, row.phash


def _columns(sample: m.SampleDescription) -> dict[str, Any]:
    place = sample.place
    most_probable = max(sample.probabilities.items(), key=lambda item: item[1], default=None)
    embedding = sample.embedding
    return {
        "boot": sample.boot,
        "sequence": sample.sequence,
        "survey": sample.survey,
        "frame": sample.frame,
        "row": sample.row,
        "column": sample.column,
        "width": sample.width,
        "height": sample.height,
        "gsd_m": sample.gsd_m,
        "longitude": None if place is None else place.longitude,
        "latitude": None if place is None else place.latitude,
        "sigma_m": None if place is None else place.sigma_m,
        "captured_at": sample.captured_at,
        "clock": sample.clock,
        "bundle": sample.bundle,
        "bundle_sha256": sample.bundle_sha256.hex(),
        "policy": sample.policy,
        "label": None if most_probable is None else most_probable[0],
        "probability": None if most_probable is None else most_probable[1],
        "main_reason": sample.reasons[0].code if sample.reasons else None,
        "value": sample.value,
        "quality": sample.quality,
        "inclusion_probability": sample.inclusion_probability,
        "payload_sha256": sample.payload_sha256.hex(),
        "payload_size": sample.payload_size,
        "payload_type": sample.payload_type,
        "phash": None if sample.perceptual_hash is None else sample.perceptual_hash.hex(),
        "embedding": None if embedding is None else embedding.values,
        "embedding_scale": None if embedding is None else embedding.scale,
        "probabilities": sorted(sample.probabilities.items(), key=lambda item: -item[1]),
        "scores": dict(sample.scores),
        "p_values": dict(sample.p_values),
        "findings": msgspec.to_builtins(sample.findings),
        "reasons": msgspec.to_builtins(sample.reasons),
    }


def _is(key: SampleKey) -> ColumnElement[bool]:
    return and_(samples.c.device == key.device, samples.c.sample_id == key.sample_id)
