"""Payloads under way, in the database: several workers may each receive a part of one sample."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, and_, bindparam, delete, insert, select

from server_sync.domain import SampleKey, Span
from server_sync.store.schema import parts

# Built once: a statement costs more to build than SQLite takes to run it.
_OF: Final = and_(
    parts.c.device == bindparam("of_device"), parts.c.sample_id == bindparam("of_sample")
)
_HELD: Final = select(parts.c.offset, parts.c.size).where(_OF).order_by(parts.c.offset)
_DATA: Final = select(parts.c.data).where(_OF).order_by(parts.c.offset)
_ADD: Final = insert(parts)
_DROP: Final = delete(parts).where(_OF)


def held(connection: Connection, key: SampleKey) -> tuple[Span, ...]:
    """The byte ranges received so far, piece by piece as they came: sorted, not overlapping."""
    rows = connection.execute(_HELD, _of(key))
    return tuple(Span(offset, offset + size) for offset, size in rows)


def add(connection: Connection, key: SampleKey, offset: int, data: bytes) -> None:
    """Keep one piece that was missing."""
    values = {"offset": offset, "size": len(data), "data": data}
    connection.execute(_ADD, {"device": key.device, "sample_id": key.sample_id} | values)


def assemble(connection: Connection, key: SampleKey) -> bytes:
    """All pieces in order; they are whole and without overlap, as only missing ones are added."""
    return b"".join(connection.execute(_DATA, _of(key)).scalars())


def drop(connection: Connection, key: SampleKey) -> None:
    """Forget the pieces of a sample."""
    connection.execute(_DROP, _of(key))


def _of(key: SampleKey) -> dict[str, str]:
    return {"of_device": key.device, "of_sample": key.sample_id}
