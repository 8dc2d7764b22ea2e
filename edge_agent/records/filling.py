"""A new database filled with what was saved of an old one, in small transactions, while room lasts.

Errors here are the new file's, never the old one's: a row that does not fit the schema is left
out, lack of room ends the filling, and anything else is raised.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.records.counters import Changes

Row = dict[str, Any]
Note = Callable[[sqlite3.Connection, Changes], None]

_BATCH: Final = 1024 * 1024
_DISK_RESERVE: Final = 4 * 1024 * 1024
_FILE_RESERVE: Final = 128 * 1024
"""Left free, so that work can go on in the new file."""
_WRITTEN: Final = 3
"""Times that a byte needs room until it is in the file: the write-ahead log, the file, indexes."""
_ROW_COST: Final = 512
_MISFITS: Final = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that come along together or not at all."""

    rows: tuple[tuple[str, Row], ...]
    """Table and row."""
    note: Note
    """What else changes with them."""

    @property
    def cost(self) -> int:
        """Bytes they may take, roughly and rather too many."""
        values = (value for _, row in self.rows for value in row.values())
        texts = sum(len(value) for value in values if isinstance(value, (bytes, str)))
        return texts + _ROW_COST * len(self.rows)


class Filling:
    """The new database, and whether there is room in it still."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self.full = False

    def fill(self, pieces: Iterable[Piece]) -> None:
        """Write pieces in their order until no room is left; those already there stay as they are.

        Raises:
            sqlite3.Error: the new file cannot be written, for another reason than lack of room.
        """
        if self.full:
            return
        batch: list[Piece] = []
        cost, room = 0, self._room()
        for piece in pieces:
            if batch and cost + piece.cost > min(room, _BATCH):
                self._write(batch)
                batch, cost, room = [], 0, self._room()
            self.full = self.full or piece.cost > room
            if self.full:
                return
            batch.append(piece)
            cost += piece.cost
        self._write(batch)

    def _write(self, batch: list[Piece]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            changes = Changes()
            for piece in batch:
                self._connection.execute("SAVEPOINT piece")
                if all(self._insert(table, row) for table, row in piece.rows):
                    piece.note(self._connection, changes)
                else:
                    self._connection.execute("ROLLBACK TO piece")
                self._connection.execute("RELEASE piece")
            changes.write(self._connection)
            self._connection.execute("COMMIT")
            # The log would take as much again; nobody else is at work.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            # Where there is no room SQLite may have rolled back all of it by itself
            # (https://www.sqlite.org/lang_transaction.html).
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if _code(error) != sqlite3.SQLITE_FULL:
                raise
            self.full = True

    def _insert(self, table: str, row: Row) -> bool:
        places = ", ".join("?" * len(row))
        query = f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({places})"  # noqa: S608
        try:
            return self._connection.execute(query, tuple(row.values())).rowcount == 1
        except sqlite3.DatabaseError as error:
            if _code(error) in _MISFITS:
                return False
            raise

    def _room(self) -> int:
        """Bytes of rows that may still be written."""
        most, used, free, page = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("max_page_count", "page_count", "freelist_count", "page_size")
        )
        disk = os.statvfs(self._folder)
        return min(
            (most - used + free) * page - _FILE_RESERVE,
            (disk.f_bavail * disk.f_frsize - _DISK_RESERVE) // _WRITTEN,
        )


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
