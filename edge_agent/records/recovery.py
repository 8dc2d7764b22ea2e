"""A damaged file is moved aside; what can still be read of it comes along."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.records.counters import DEVICE, write_counter
from edge_agent.records.errors import RecordsCorrupt, RecordsUnavailable
from edge_agent.records.events import write_event
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


def set_aside(file: Path, error: RecordsCorrupt) -> Remains:
    """Rename the file and what SQLite keeps beside it; nobody may have it open.

    Raises:
        RecordsUnavailable: it cannot be renamed.
    """
    number = 1
    while (target := file.with_name(f"{file.name}.corrupt-{number}")).exists():
        number += 1
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
    _logger.error("the database is damaged: %s; moved aside as %s", damage, target)
    return Remains(target, damage)


def carry_over(connection: sqlite3.Connection, remains: Remains, file: Path, now: float) -> None:
    """Start the new database with the old one's numbers, and say what happened."""
    numbers = _numbers(remains.file, now)
    connection.execute("BEGIN IMMEDIATE")
    for name, value in numbers.items():
        write_counter(connection, DEVICE, name, value)
    write_event(
        connection,
        "corrupt",
        f"{file.name} was damaged ({remains.damage}); it is kept as {remains.file.name}",
        now,
    )
    connection.execute("COMMIT")


def _numbers(old: Path, now: float) -> dict[str, int]:
    """The old numbers where they can be read, else ones that are surely higher.

    Seconds since 1970 exceed any count of starts, and the old file's last change is a second
    opinion where the clock is wrong.
    """
    floor = int(max(now, old.stat().st_mtime, 1))
    numbers = dict.fromkeys(NUMBERS, floor)
    try:
        connection = sqlite3.connect(f"{old.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return numbers
    try:
        rows = connection.execute("SELECT name, value FROM counter WHERE scope = 0").fetchall()
    except sqlite3.Error as error:
        _logger.info("the old counters cannot be read: %s", error)
        rows = []
    finally:
        connection.close()
    found = {name: value for name, value in rows if name in numbers and isinstance(value, int)}
    if found:
        numbers = dict.fromkeys(NUMBERS, 0) | found
    return numbers
