"""What has been kept so far, for novelty's memory at the start of the filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edge_agent.records.database import Database
from edge_agent.records.identity import address

_COLUMNS: Final = "SELECT frame.name, kept.row, kept.col, content_sha256, perceptual_hash FROM"
_JOIN: Final = "AS kept JOIN frame ON frame.id = kept.frame_id"
_IN_LEDGER: Final = (
    f"{_COLUMNS} tile {_JOIN} WHERE kept = 1 AND delivery <> 'evicted'"
    " ORDER BY kept.id DESC LIMIT ?"
)
_FORGOTTEN: Final = f"{_COLUMNS} memory {_JOIN} ORDER BY kept.id DESC LIMIT ?"


def kept_hashes(database: Database, limit: int = 65_536) -> Iterator[tuple[str, bytes, int | None]]:
    """Address, content SHA-256 and pHash of the last `limit` kept tiles, the oldest first.

    Those already sent are among them; those evicted are not: their like is welcome again.
    """
    with database.reading() as connection:
        rows = connection.execute(_IN_LEDGER, (limit,)).fetchall()
        # Tiles that the ledger has forgotten came before those it has.
        rows += connection.execute(_FORGOTTEN, (limit - len(rows),)).fetchall()
    for name, row, column, content, likeness in reversed(rows):
        number = None if likeness is None else int.from_bytes(likeness, "big")
        yield address(name, row, column), content, number
