"""SQLite's error codes as named errors (https://www.sqlite.org/rescode.html)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from operations.errors import OperatorError, Problem

_CORRUPT: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class RecordsError(OperatorError):
    """The records cannot be used."""


class RecordsCorrupt(RecordsError):  # noqa: N818 - a state, as the next two
    """The file is damaged: close it and open it again; opening moves it aside."""


class RecordsFull(RecordsError):  # noqa: N818
    """There is no room left, and nothing that may be given up for it."""


class RecordsUnavailable(RecordsError):  # noqa: N818
    """The file is there but cannot be used: read-only, no permission, a failing disk."""


class RecordsBusy(RecordsUnavailable):
    """Another process held the file for longer than we wait; nothing was written."""


def named(error: sqlite3.Error, path: Path) -> RecordsError | None:
    """The named error for SQLite's, None where it is a fault of ours and not of the file."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    primary = code & 0xFF
    if primary in _CORRUPT:
        return corrupt(path, str(error))
    if primary == sqlite3.SQLITE_FULL:
        return RecordsFull(
            f"{path}: {error}",
            [Problem("no room for the records", "free disk space or raise database_max_bytes")],
        )
    if primary in _BUSY:
        hint = f"another process holds it for too long; see which with: fuser {path}"
        return RecordsBusy(f"{path} cannot be used now", [Problem(str(error), hint)])
    hint = _hint(primary)
    if not hint:
        return None
    return RecordsUnavailable(f"{path} cannot be used", [Problem(str(error), hint)])


def corrupt(path: Path, damage: str) -> RecordsCorrupt:
    """The error for a file with that damage."""
    return RecordsCorrupt(
        f"{path} is damaged",
        [Problem(damage, "edge-agent filter or sync moves it aside at its next start and goes on")],
    )


def _hint(primary: int) -> str:
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return "run as the user that owns the file and its folder"
    if primary == sqlite3.SQLITE_CANTOPEN:
        return "check that the folder exists and that this user may write in it"
    if primary == sqlite3.SQLITE_IOERR:
        return "check the disk: reading or writing it failed"
    return ""
