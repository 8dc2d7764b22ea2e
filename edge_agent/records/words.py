"""Words that come back in every tile, stored once."""

from __future__ import annotations

import sqlite3

from edge_agent.records.identity import storable


class Words:
    """The words known at the start of a transaction, and those that it adds.

    Lives no longer than its transaction: after a rollback its numbers would point nowhere.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers: dict[str, int] = {
            text: number for number, text in connection.execute("SELECT id, text FROM word")
        }
        self._texts: dict[int, str] = {number: text for text, number in self._numbers.items()}

    def intern(self, text: str) -> int:
        """The word's number; a new word is stored."""
        known = self._numbers.get(text)
        if known is not None:
            return known
        clean = storable(text)
        if clean != text:
            return self.intern(clean)
        self._connection.execute("INSERT INTO word (text) VALUES (?)", (text,))
        number = int(self._connection.execute("SELECT last_insert_rowid()").fetchone()[0])
        self._numbers[text] = number
        self._texts[number] = text
        return number

    def text(self, number: int) -> str:
        """The word of that number; KeyError where there is none."""
        return self._texts[number]
