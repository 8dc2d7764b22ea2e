"""What could not be understood, kept for a person to look at, within a cap."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from server_sync.store.schema import quarantine

HEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class Cap:
    """The most that quarantine may hold; the oldest goes first."""

    rows: int = 1000
    total_bytes: int = 256 * 1024


def add(
    connection: Connection,
    topic: str,
    payload: bytes,
    error: str,
    now_ms: int,
    cap: Cap,
    size: int | None = None,
) -> None:
    """Keep the first bytes of a message and what was wrong with it.

    Args:
        size: of the message in bytes, where `payload` is not all of it.
    """
    connection.execute(
        insert(quarantine).values(
            at_ms=now_ms,
            # PostgreSQL holds no NUL in text.
            topic=topic[:256].replace("\0", "\N{REPLACEMENT CHARACTER}"),
            size=len(payload) if size is None else size,
            head=payload[:HEAD_BYTES],
            error=error[:1024].replace("\0", "\N{REPLACEMENT CHARACTER}"),
        )
    )
    _trim(connection, cap)


def _trim(connection: Connection, cap: Cap) -> None:
    table = quarantine.c
    count, total = connection.execute(
        select(func.count(), func.coalesce(func.sum(func.length(table.head)), 0))
    ).one()
    if count <= cap.rows and total <= cap.total_bytes:
        return
    oldest = connection.execute(select(table.id, func.length(table.head)).order_by(table.id)).all()
    doomed: list[int] = []
    for number, size in oldest:
        if count <= cap.rows and total <= cap.total_bytes:
            break
        doomed.append(number)
        count, total = count - 1, total - size
    connection.execute(delete(quarantine).where(table.id.in_(doomed)))
