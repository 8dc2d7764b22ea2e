"""SQLite connections as the records want them."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from edge_agent.records.errors import RecordsError, RecordsUnavailable, corrupt, named
from edge_agent.records.migrations import migrate, refuse_others, schema_files
from operations.errors import Problem

BUSY_S: Final = 30.0
PAGE_BYTES: Final = 4096
_CACHE_KIB: Final = 8192
_REPORTED_FAULTS: Final = 5


def check_place(file: Path, *, create: bool) -> None:
    """Make sure that the file is there, or can be made.

    Raises:
        RecordsError: it is not, or is no file.
    """
    try:
        if file.is_dir():
            raise RecordsError(
                f"{file} is a folder",
                [Problem("the database is a file", "name a file: --database FILE")],
            )
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        elif not file.exists():
            raise RecordsError(
                f"there is no database at {file}",
                [Problem("nothing has been recorded there", "give --database FILE or --config")],
            )
    except OSError as error:
        raise RecordsUnavailable(
            f"{file} cannot be used",
            [Problem(error.strerror or str(error), "check the folder and its permissions")],
        ) from error


def connect(file: Path, *, max_bytes: int, check: bool, thorough: bool) -> sqlite3.Connection:
    """A connection that writes, at the newest schema.

    Raises:
        RecordsCorrupt: the file is damaged.
        RecordsError: another program's, a newer version's, or not usable.
    """
    deadline = time.monotonic() + BUSY_S
    while True:
        connection = _raw(str(file), uri=False)
        try:
            refuse_others(connection, file)
            _set_up(connection, max_bytes)
            if check:
                _check(connection, file, "integrity_check" if thorough else "quick_check")
            migrate(connection, file)
        except BaseException as error:
            connection.close()
            if not isinstance(error, sqlite3.Error):
                raise
            # The change to write-ahead logging does not wait for a busy database by itself.
            if _is_busy(error) and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            ours = named(error, file)
            if ours is None:
                raise corrupt(file, str(error)) from error
            raise ours from error
        return connection


def connect_readonly(file: Path) -> sqlite3.Connection:
    """A connection that changes nothing.

    Raises:
        RecordsError: as `connect`.
    """
    address = f"{file.absolute().as_uri()}?mode=ro"
    if not os.access(file.parent, os.W_OK) and not file.with_name(file.name + "-wal").exists():
        # A reader that may not write shared memory beside the file; nobody else is at work.
        address += "&immutable=1"
    try:
        connection = _raw(address, uri=True)
    except sqlite3.Error as error:
        raise named(error, file) or corrupt(file, str(error)) from error
    try:
        connection.execute("PRAGMA query_only = ON")
        _refuse_version(connection, file)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise named(error, file) or corrupt(file, str(error)) from error
        raise
    return connection


def _refuse_version(connection: sqlite3.Connection, file: Path) -> None:
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    newest = schema_files()[-1][0]
    if found == newest:
        return
    if found == 0:
        problem = Problem("it is empty, or another program's", "run edge-agent filter first")
    elif found < newest:
        problem = Problem("an older version wrote it", "start edge-agent filter or sync once")
    else:
        problem = Problem("a newer version wrote it", "install the newer version")
    raise RecordsError(f"the records in {file} cannot be read", [problem])


def _raw(address: str, *, uri: bool) -> sqlite3.Connection:
    # Transactions are ours: the module's own BEGIN comes too late, at the first write.
    return sqlite3.connect(address, timeout=BUSY_S, isolation_level=None, uri=uri)


def _set_up(connection: sqlite3.Connection, max_bytes: int) -> None:
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
        # Before the first page is written, else it takes a VACUUM of the whole file.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    if max_bytes:
        connection.execute(f"PRAGMA max_page_count = {max(max_bytes // PAGE_BYTES, 1)}")


def _check(connection: sqlite3.Connection, file: Path, pragma: str) -> None:
    rows = connection.execute(f"PRAGMA {pragma}({_REPORTED_FAULTS})").fetchall()
    faults = [str(text) for (text,) in rows]
    if faults != ["ok"]:
        raise corrupt(file, "; ".join(faults))


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
