"""What has been kept so far, for novelty's memory at the start of the filter."""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.records.database import Database
from edge_agent.records.identity import address


def kept_hashes(database: Database, limit: int = 65_536) -> Iterator[tuple[str, bytes, int | None]]:
    """Address, content SHA-256 and pHash of the last `limit` kept tiles, the oldest first.

    Those already sent are among them; those evicted are not: their like is welcome again.
    """
    with database.reading() as connection:
        rows = connection.execute(
            "SELECT * FROM (SELECT tile.id AS id, frame.name, tile.row, tile.col,"
            " tile.content_sha256, tile.perceptual_hash FROM tile"
            " JOIN frame ON frame.id = tile.frame_id"
            " WHERE tile.kept = 1 AND tile.delivery <> 'evicted' ORDER BY tile.id DESC LIMIT ?)"
            " ORDER BY id",
            (limit,),
        ).fetchall()
    for _, name, row, column, content, likeness in rows:
        number = None if likeness is None else int.from_bytes(likeness, "big")
        yield address(name, row, column), content, number
