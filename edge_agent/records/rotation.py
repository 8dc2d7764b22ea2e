"""The ledger's size: the oldest verdicts on skipped tiles are forgotten, other surveys' first."""

from __future__ import annotations

import sqlite3
from typing import Final

ROW_BYTES: Final = 130
"""What a ledger row takes beside its facts, indexes and page filling included (measured)."""

_COST: Final = f"length(facts) + {ROW_BYTES}"


def row_cost(facts: bytes) -> int:
    """Bytes that a row counts in the ledger's size."""
    return len(facts) + ROW_BYTES


def rotate(
    connection: sqlite3.Connection, survey_id: int, wanted: int, max_rows: int
) -> tuple[int, int]:
    """Forget skipped tiles until `wanted` bytes are free, `max_rows` at most.

    `survey_id` is the current survey, whose tiles go last. Kept tiles stay: they tell what is
    already there.

    Returns:
        Rows and bytes.
    """
    runs = connection.execute("SELECT id FROM run ORDER BY survey_id = ?, id", (survey_id,))
    rows = freed = 0
    for (run_id,) in runs.fetchall():
        if freed >= wanted or rows >= max_rows:
            break
        oldest = connection.execute(
            f"SELECT id, {_COST} FROM tile WHERE run_id = ? AND kept = 0"  # noqa: S608
            " ORDER BY id LIMIT ?",
            (run_id, max_rows - rows),
        )
        going: list[tuple[int]] = []
        for tile_id, cost in oldest:
            if freed >= wanted:
                break
            going.append((tile_id,))
            freed += cost
        connection.executemany("DELETE FROM tile WHERE id = ?", going)
        rows += len(going)
    return rows, freed
