"""A damaged file is moved aside; what can still be read of it comes along."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.records.counters import DEVICE, read_counter, write_counter
from edge_agent.records.errors import RecordsCorrupt, RecordsUnavailable, named
from edge_agent.records.events import write_event
from edge_agent.records.salvage import salvage
from operations.errors import Problem

_BESIDE: Final = ("-wal", "-shm")
NUMBERS: Final = ("boot", "birth", "sequence")
"""Counters that others have seen: they must not start again."""
_RESCUE: Final = "rescue"
"""Counter: the number of the damaged file, as long as not all of it was looked through."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remains:
    """A damaged file that was moved aside."""

    file: Path
    damage: str


def unfinished(connection: sqlite3.Connection, file: Path) -> Remains | None:
    """The file that was moved aside last, if the new one still lacks what can be saved of it.

    For a process that was killed in between.
    """
    number = read_counter(connection, DEVICE, _RESCUE)
    if not number:
        if connection.execute("SELECT count(*) FROM counter").fetchone()[0]:
            return None
        number = _number(_first_free(file)) - 1
    remains = file.with_name(f"{file.name}.corrupt-{number}")
    return Remains(remains, "found before a restart") if remains.exists() else None


def set_aside(file: Path, error: RecordsCorrupt) -> Remains:
    """Rename the file and what SQLite keeps beside it; nobody may have it open.

    Raises:
        RecordsUnavailable: it cannot be renamed.
    """
    target = _first_free(file)
    try:
        for suffix in _BESIDE:
            beside = file.with_name(file.name + suffix)
            if beside.exists():
                beside.rename(target.with_name(target.name + suffix))
        file.rename(target)
    except OSError as failure:
        raise RecordsUnavailable(
            f"{file} is damaged and cannot be moved aside",
            [Problem(failure.strerror or str(failure), "move it away by hand")],
        ) from failure
    damage = "; ".join(problem.message for problem in error.problems) or error.summary
    return Remains(target, damage)


def _first_free(file: Path) -> Path:
    number = 1
    while (target := file.with_name(f"{file.name}.corrupt-{number}")).exists():
        number += 1
    return target


def _number(remains: Path) -> int:
    return int(remains.name.rpartition("-")[2])


def carry_over(connection: sqlite3.Connection, remains: Remains, file: Path, now: float) -> None:
    """Start the new database with the old one's numbers and samples, and say what happened.

    Cut short, it is taken up again where `unfinished` finds it.

    Raises:
        RecordsError: the new file cannot be written.
    """
    try:
        with closing(_look_into(remains.file)) as old:
            numbers = _numbers(old, int(max(now, remains.file.stat().st_mtime, 1)))
            with _transaction(connection):
                for name, value in (numbers | {_RESCUE: _number(remains.file)}).items():
                    write_counter(connection, DEVICE, name, value)
            found = salvage(old, connection, file.parent)
        no_room = f", {found.without_room} found no room" if found.without_room else ""
        report = (
            f"{file.name} was damaged ({remains.damage}); {found.saved} samples were saved"
            f"{no_room}, the rest is kept as {remains.file.name}"
        )
        with _transaction(connection):
            write_event(connection, "corrupt", report, now)
            connection.execute("DELETE FROM counter WHERE scope = 0 AND name = ?", (_RESCUE,))
    except sqlite3.Error as error:
        ours = named(error, file)
        if ours is None:
            raise
        raise ours from error
    _logger.error("%s", report)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # for want of room SQLite rolls back by itself
            connection.execute("ROLLBACK")
        raise


def _look_into(old: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{old.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _numbers(old: sqlite3.Connection, floor: int) -> dict[str, int]:
    """The old numbers where they can be read, else `floor`, which is surely higher.

    Seconds since 1970 exceed any count of starts, and the old file's last change is a second
    opinion where the clock is wrong.
    """
    try:
        rows = old.execute("SELECT name, value FROM counter WHERE scope = 0").fetchall()
    except sqlite3.Error as error:
        _logger.info("the old counters cannot be read: %s", error)
        rows = []
    found = {name: value for name, value in rows if name in NUMBERS and isinstance(value, int)}
    return (dict.fromkeys(NUMBERS, 0) | found) if found else dict.fromkeys(NUMBERS, floor)
