"""A damaged file is moved aside; what can still be read of it comes along."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.records.counters import DEVICE, write_counter
from edge_agent.records.errors import RecordsCorrupt, RecordsUnavailable
from edge_agent.records.events import write_event
from edge_agent.records.salvage import UNREADABLE, salvage
from operations.errors import Problem

_BESIDE: Final = ("-wal", "-shm")
NUMBERS: Final = ("boot", "birth", "sequence")
"""Counters that others have seen: they must not start again."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remains:
    """A damaged file that was moved aside."""

    file: Path
    damage: str


def unfinished(connection: sqlite3.Connection, file: Path) -> Remains | None:
    """The file that was moved aside last, if the new one still lacks what can be saved of it.

    For a process that was killed in between; the new database then holds nothing yet.
    """
    if connection.execute("SELECT count(*) FROM counter").fetchone()[0]:
        return None
    target = _first_free(file)
    number = int(target.name.rpartition("-")[2]) - 1
    if number == 0:
        return None
    return Remains(target.with_name(f"{file.name}.corrupt-{number}"), "found before a restart")


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


def carry_over(connection: sqlite3.Connection, remains: Remains, file: Path, now: float) -> None:
    """Start the new database with the old one's numbers and samples, and say what happened."""
    with closing(_look_into(remains.file)) as old:
        numbers = _numbers(old, int(max(now, remains.file.stat().st_mtime, 1)))
        connection.execute("BEGIN IMMEDIATE")
        saved = _samples(old, connection)
    for name, value in numbers.items():
        write_counter(connection, DEVICE, name, value)
    report = (
        f"{file.name} was damaged ({remains.damage}); {saved} samples were saved, "
        f"the rest is kept as {remains.file.name}"
    )
    write_event(connection, "corrupt", report, now)
    connection.execute("COMMIT")
    _logger.error("%s", report)


def _look_into(old: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{old.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _samples(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    """Samples that could be saved; where none can, the new database starts empty."""
    new.execute("SAVEPOINT salvage")
    try:
        saved = salvage(old, new)
    except UNREADABLE as error:
        _logger.warning("nothing can be saved of the old database: %s", error)
        new.execute("ROLLBACK TO salvage")
        saved = 0
    new.execute("RELEASE salvage")
    return saved


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
