"""The ledger's size: the oldest verdicts are forgotten, other surveys' first.

A kept tile may be forgotten once its sample is settled; what novelty has to know of it stays in
a table of its own, beside the ledger's cap, for the last `MEMORY_ROWS` of them (some 60 bytes
each).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ROW_BYTES: Final = 130
"""What a ledger row takes beside its facts, indexes and page filling included (measured)."""
MEMORY_ROWS: Final = 65_536

_CANDIDATES: Final = "SELECT id, length(facts), kept FROM tile WHERE run_id = ? AND "
_SKIPPED: Final = f"{_CANDIDATES}kept = 0"
_SETTLED: Final = f"{_CANDIDATES}delivery NOT IN ('queued', 'quarantined')"
_EITHER: Final = f"{_SKIPPED} UNION ALL {_SETTLED}"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten at once."""

    rows: int
    kept: int
    """Of these rows, those of kept tiles."""
    size: int
    """Bytes freed."""


def row_cost(facts: bytes) -> int:
    """Bytes that a row counts in the ledger's size."""
    return len(facts) + ROW_BYTES


def rotate(connection: sqlite3.Connection, survey_id: int, wanted: int, max_rows: int) -> Forgotten:
    """Forget tiles until `wanted` bytes are free, `max_rows` at most, the oldest first.

    First the skipped tiles of other surveys than the current one (`survey_id`), then their kept
    tiles that are settled, at last either of the current one. What waits in the outbox stays.
    """
    skipped: list[int] = []
    kept: list[int] = []
    freed = 0
    for tile_id, facts, is_kept in _oldest(connection, survey_id, max_rows):
        if freed >= wanted or len(skipped) + len(kept) >= max_rows:
            break
        (kept if is_kept else skipped).append(tile_id)
        freed += facts + ROW_BYTES
    _remember(connection, kept)
    connection.executemany("DELETE FROM tile WHERE id = ?", ((n,) for n in skipped + kept))
    return Forgotten(len(skipped) + len(kept), len(kept), freed)


def _oldest(
    connection: sqlite3.Connection, survey_id: int, max_rows: int
) -> Iterator[tuple[int, int, int]]:
    """Number, bytes of facts and whether kept of what may go, in the order in which it does."""
    runs = connection.execute("SELECT id, survey_id FROM run ORDER BY id").fetchall()
    current = [run for run, survey in runs if survey == survey_id]
    others = [run for run, survey in runs if survey != survey_id]
    for query, among in ((_SKIPPED, others), (_SETTLED, others), (_EITHER, current)):
        for run in among:
            values = (run,) * query.count("?")
            yield from connection.execute(f"{query} ORDER BY id LIMIT ?", (*values, max_rows))


def _remember(connection: sqlite3.Connection, tile_ids: list[int]) -> None:
    """Keep the hashes of kept tiles, but of those evicted: their like is welcome again."""
    connection.executemany(
        "INSERT INTO memory (frame_id, row, col, content_sha256, perceptual_hash)"
        " SELECT frame_id, row, col, content_sha256, perceptual_hash FROM tile"
        " WHERE id = ? AND delivery <> 'evicted'",
        ((tile_id,) for tile_id in tile_ids),
    )
    if tile_ids:
        connection.execute(
            "DELETE FROM memory WHERE id <= (SELECT max(id) FROM memory) - ?", (MEMORY_ROWS,)
        )
