"""What has been kept so far, for novelty's memory at the start of the filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edge_agent.records.database import Database
from edge_agent.records.identity import address, address_elsewhere, storable

_COLUMNS: Final = (
    "SELECT frame.name, kept.row, kept.col, content_sha256, perceptual_hash, survey.name FROM"
)
_JOIN: Final = (
    "AS kept JOIN frame ON frame.id = kept.frame_id JOIN survey ON survey.id = frame.survey_id"
)
_IN_LEDGER: Final = (
    f"{_COLUMNS} tile {_JOIN} WHERE kept = 1 AND delivery <> 'evicted'"
    " ORDER BY kept.id DESC LIMIT ?"
)
_FORGOTTEN: Final = f"{_COLUMNS} memory {_JOIN} ORDER BY kept.id DESC LIMIT ?"


def kept_hashes(
    database: Database, limit: int = 65_536, *, here: str | None = None
) -> Iterator[tuple[str, bytes, int | None]]:
    """Address, content SHA-256 and pHash of the last `limit` kept tiles, the oldest first.

    `here` is the survey under way; tiles of others are named with theirs.
    Those already sent are among them; those evicted are not: their like is welcome again.
    """
    with database.reading() as connection:
        rows = connection.execute(_IN_LEDGER, (limit,)).fetchall()
        # Tiles that the ledger has forgotten came before those it has.
        rows += connection.execute(_FORGOTTEN, (limit - len(rows),)).fetchall()
    for name, row, column, content, likeness, survey in reversed(rows):
        number = None if likeness is None else int.from_bytes(likeness, "big")
        place = address(name, row, column)
        if here is not None and survey != storable(here):
            place = address_elsewhere(place, survey)
        yield place, content, number
