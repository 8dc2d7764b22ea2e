"""Samples that were asked for and are not there yet: how many, whose, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, and_, bindparam, delete, func, or_, select

from server_sync.domain import SampleKey, State
from server_sync.store.schema import parts, sample_reasons, samples

_WANTED: Final = samples.c.state == str(State.WANTED)
_LOAD: Final = select(func.count(), func.coalesce(func.sum(samples.c.payload_size), 0)).where(
    _WANTED, samples.c.device == bindparam("of_device")
)
_TWIN: Final = (
    select(samples.c.device, samples.c.sample_id)
    .where(
        samples.c.payload_sha256 == bindparam("bytes"),
        _WANTED,
        samples.c.offered_ms >= bindparam("since_ms"),
        or_(
            samples.c.device != bindparam("of_device"),
            samples.c.sample_id != bindparam("of_sample"),
        ),
    )
    .limit(1)
)
_OLD: Final = (
    select(samples.c.device, samples.c.sample_id)
    .where(_WANTED, samples.c.offered_ms < bindparam("before_ms"))
    .order_by(samples.c.device, samples.c.sample_id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_FORGET: Final = tuple(
    delete(table).where(
        and_(table.c.device == bindparam("of_device"), table.c.sample_id == bindparam("of_sample"))
    )
    for table in (parts, sample_reasons, samples)
)


@dataclass(slots=True)
class Load:
    """What one device has under way."""

    count: int
    total_bytes: int


def load(connection: Connection, device: str) -> Load:
    """How much was asked of a device and is not there yet."""
    count, total = connection.execute(_LOAD, {"of_device": device}).one()
    return Load(int(count), int(total))


def twin(connection: Connection, key: SampleKey, sha256: bytes, since_ms: int) -> SampleKey | None:
    """Another sample with the same bytes that was asked for no earlier than `since_ms`."""
    values = {"bytes": sha256.hex(), "since_ms": since_ms}
    row = connection.execute(
        _TWIN, values | {"of_device": key.device, "of_sample": key.sample_id}
    ).one_or_none()
    return None if row is None else SampleKey(row.device, row.sample_id)


def forget(connection: Connection, before_ms: int, most: int) -> int:
    """Give up at most `most` samples asked for before `before_ms`, with what came of their pixels.

    A device that still has one offers it as new.
    """
    keys = connection.execute(_OLD, {"before_ms": before_ms, "most": most}).all()
    if keys:
        values = [{"of_device": device, "of_sample": sample_id} for device, sample_id in keys]
        for statement in _FORGET:
            connection.execute(statement, values)
    return len(keys)
