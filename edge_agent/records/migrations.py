"""The schema: numbered .sql files, each applied in one transaction; `user_version` counts them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Final

from edge_agent.records.errors import RecordsError, corrupt
from operations.errors import Problem

APPLICATION_ID: Final = 0x54494C45  # "TILE"
FIRST_TABLES: Final = frozenset(
    {"counter", "event", "survey", "run", "frame", "word", "tile", "memory", "outbox", "payload"}
)
"""Of version 1: a file that has them all is ours, whatever its header says."""
TABLES: Final = FIRST_TABLES | {"drift", "drift_block", "leader"}


def schema_files() -> list[tuple[int, str]]:
    """Version and SQL of every migration, oldest first."""
    folder = resources.files("edge_agent.records") / "schema"
    found = [
        (int(entry.name.split("_", 1)[0]), entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    ]
    return sorted(found)


def refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    """Look before anything is changed: is the file ours to write in?

    Raises:
        RecordsError: another program's database, or one of a newer version.
        RecordsCorrupt: our tables under a header that is not ours.
        sqlite3.Error: as SQLite reports it.
    """
    newest = schema_files()[-1][0]
    identity = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = _version(connection)
    tables = _tables(connection)
    if identity != APPLICATION_ID and tables >= FIRST_TABLES:
        raise corrupt(path, "its header is damaged")
    if identity != APPLICATION_ID and (identity or version or tables):
        raise RecordsError(
            f"{path} is a database of another program",
            [Problem("it is left as it is", "name another file: --database FILE")],
        )
    if version > newest:
        raise RecordsError(
            f"{path} was written by a newer version of tilesift",
            [
                Problem(
                    f"its schema is version {version}, this version knows up to {newest}",
                    "install the newer version again; the file is left as it is",
                )
            ],
        )


def migrate(connection: sqlite3.Connection, path: Path) -> int:
    """Bring the schema up to date; the number of migrations applied.

    Raises:
        RecordsCorrupt: tables are missing.
        sqlite3.Error: as SQLite reports it.
    """
    files = schema_files()
    newest = files[-1][0]
    applied = 0
    if _version(connection) < newest:
        for version, sql in files:
            applied += _apply(connection, version, sql)
    missing = TABLES - _tables(connection)
    if missing:
        raise corrupt(path, "tables are missing: " + ", ".join(sorted(missing)))
    return applied


def _apply(connection: sqlite3.Connection, version: int, sql: str) -> bool:
    """Whether this migration was still to be applied; another process may have come first."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        pending = _version(connection) < version
        if pending:
            for statement in statements(sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return pending


def statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit between them."""
    gathered = ""
    for line in sql.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in rows}
