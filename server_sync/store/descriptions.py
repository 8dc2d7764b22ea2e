"""Samples as described by devices: looked up, written down, settled."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from server_sync.domain import KnownSample, SampleKey, State
from server_sync.store import parts
from server_sync.store.schema import sample_reasons, samples
from sync_protocol import messages as m

# Built once: a statement costs more to build than SQLite takes to run it.
_IS: Final = and_(
    samples.c.device == bindparam("is_device"), samples.c.sample_id == bindparam("is_sample")
)
_KNOWN: Final = (
    select(
        samples.c.state,
        samples.c.detail,
        samples.c.failures,
        samples.c.payload_sha256,
        samples.c.payload_size,
        samples.c.payload_type,
    )
    .where(_IS)
    .with_for_update()
)
_LOOK: Final = select(samples.c.survey, samples.c.phash).where(_IS)
_INSERT: Final = insert(samples)
_UPDATE: Final = update(samples).where(_IS)
_INSERT_REASONS: Final = insert(sample_reasons)
_DELETE_REASONS: Final = delete(sample_reasons).where(
    sample_reasons.c.device == bindparam("is_device"),
    sample_reasons.c.sample_id == bindparam("is_sample"),
)
_SETTLE: Final = _UPDATE.values(
    state=bindparam("new_state"),
    detail=bindparam("new_detail"),
    failures=bindparam("new_failures"),
    settled_ms=bindparam("new_settled_ms"),
)


def known(connection: Connection, key: SampleKey) -> KnownSample | None:
    """What the store knows of a sample, its row locked until the transaction ends.

    The lock keeps two workers that each receive a last chunk from both finding it incomplete;
    SQLite has one writer anyway and ignores it.
    """
    row = connection.execute(_KNOWN, _is(key)).one_or_none()
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
    failures: int = 0,
) -> None:
    """Write a description down, over an older one of the same sample if there is one.

    Args:
        failures: how often these very pixels have arrived damaged so far.
    """
    key = SampleKey(device, sample.sample_id)
    values = _columns(sample) | {
        "state": str(state),
        "detail": detail,
        "failures": failures,
        "settled_ms": None if state is State.WANTED else now_ms,
    }
    if exists:
        connection.execute(_UPDATE.values(values), _is(key))
        connection.execute(_DELETE_REASONS, _is(key))
    else:
        names = {"device": key.device, "sample_id": key.sample_id, "offered_ms": now_ms}
        connection.execute(_INSERT, values | names)
    codes = dict.fromkeys(reason.code for reason in sample.reasons)
    if codes:
        connection.execute(
            _INSERT_REASONS,
            [{"device": key.device, "sample_id": key.sample_id, "code": code} for code in codes],
        )


def settle(
    connection: Connection, key: SampleKey, state: State, detail: str, failures: int, now_ms: int
) -> None:
    """Move a described sample to `state`."""
    values = {
        "new_state": str(state),
        "new_detail": detail,
        "new_failures": failures,
        "new_settled_ms": None if state is State.WANTED else now_ms,
    }
    connection.execute(_SETTLE, values | _is(key))


def look_of(connection: Connection, key: SampleKey) -> tuple[str, str | None]:
    """The survey and the pHash in hex of a described sample."""
    row = connection.execute(_LOOK, _is(key)).one()
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


def _is(key: SampleKey) -> dict[str, str]:
    return {"is_device": key.device, "is_sample": key.sample_id}
