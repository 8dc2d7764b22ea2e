"""Payloads under way, in the database: several workers may each receive a part of one sample."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from server_sync.domain import SampleKey, Span
from server_sync.ranges import merged
from server_sync.store.schema import parts


def held(connection: Connection, key: SampleKey) -> tuple[Span, ...]:
    """The byte ranges received so far."""
    query = select(parts.c.offset, parts.c.size).where(_of(key))
    rows = connection.execute(query)
    return merged(Span(offset, offset + size) for offset, size in rows)


def add(connection: Connection, key: SampleKey, offset: int, data: bytes) -> None:
    """Keep one piece that was missing."""
    connection.execute(
        insert(parts).values(
            device=key.device, sample_id=key.sample_id, offset=offset, size=len(data), data=data
        )
    )


def assemble(connection: Connection, key: SampleKey) -> bytes:
    """All pieces in order; they are whole and without overlap, as only missing ones are added."""
    query = select(parts.c.data).where(_of(key)).order_by(parts.c.offset)
    return b"".join(connection.execute(query).scalars())


def drop(connection: Connection, key: SampleKey) -> None:
    """Forget the pieces of a sample."""
    connection.execute(delete(parts).where(_of(key)))


def _of(key: SampleKey) -> ColumnElement[bool]:
    return and_(parts.c.device == key.device, parts.c.sample_id == key.sample_id)
