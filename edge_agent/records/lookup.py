"""One tile of the ledger, found by any of its names, with all that was recorded about it."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge_agent.records.database import Database
from edge_agent.records.facts import Facts, decode_facts
from edge_agent.records.identity import address, storable
from edge_agent.records.words import Words
from operations.errors import ExitCode, OperatorError, Problem

ID_LENGTH: Final = 32
LEAST_PREFIX: Final = 4
_HEX: Final = re.compile(r"[0-9a-fA-F]{%d,%d}" % (LEAST_PREFIX, ID_LENGTH))  # noqa: UP031
_PLACE: Final = re.compile(r"(?P<frame>.+)@(?P<row>\d{1,18}),\s*(?P<column>\d{1,18})")

_QUERY: Final = (
    "SELECT tile.*, frame.name AS frame, survey.name AS survey, run.bundle, run.policy,"
    " run.policy_settings, run.labels, word.text AS decided, outbox.attempts, outbox.priority"
    " FROM tile JOIN frame ON frame.id = tile.frame_id JOIN run ON run.id = tile.run_id"
    " JOIN survey ON survey.id = run.survey_id JOIN word ON word.id = tile.reason"
    " LEFT JOIN outbox ON outbox.tile_id = tile.id WHERE "
)


class UnknownName(OperatorError):  # noqa: N818 - what was asked for, not what failed
    """No such tile or sample, or more than one."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class TileRecord:
    """A row of the ledger."""

    columns: Mapping[str, Any]
    """As in the table `tile`, with the names of frame, survey, bundle and policy, and with
    `attempts` and `priority` while it is in the outbox."""
    facts: Facts
    labels: tuple[str, ...]
    policy_settings: Mapping[str, Any]

    @property
    def address(self) -> str:
        """`frame@row,column`."""
        return address(self.columns["frame"], self.columns["row"], self.columns["col"])

    @property
    def sample_id(self) -> str | None:
        """In hex, None for a tile that was not kept."""
        return None if self.columns["sample_id"] is None else self.columns["sample_id"].hex()


def find_tile(database: Database, name: str) -> TileRecord:
    """The tile of that ledger number, sample id (or its beginning) or `frame@row,column`.

    Of several at one place (the frame was replaced, or another survey saw it) the latest.

    Raises:
        UnknownName: there is none, or the beginning fits several samples.
    """
    with database.reading() as connection:
        words = Words(connection)
        name = storable(name)
        row = _by_number(connection, name) or _by_place(connection, name)
        if row is None:
            sample_id = bytes.fromhex(_full_id(connection, name, "tile"))
            row = _one(connection, "tile.sample_id = ?", (sample_id,))
    if row is None:
        raise _unknown(name)
    return TileRecord(
        row,
        decode_facts(row["facts"], words.text),
        tuple(json.loads(row["labels"])),
        json.loads(row["policy_settings"]),
    )


def queued_id(database: Database, name: str) -> str:
    """The full id of the sample in the outbox that `name` begins.

    Raises:
        UnknownName: there is none, or several.
    """
    with database.reading() as connection:
        return _full_id(connection, name, "outbox")


def _by_number(connection: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    if not (name.isascii() and name.isdigit() and len(name) <= 18):
        return None
    return _one(connection, "tile.id = ?", (int(name),))


def _by_place(connection: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    match = _PLACE.fullmatch(name)
    if match is None:
        return None
    key = (match["frame"], int(match["row"]), int(match["column"]))
    row = _one(connection, "frame.name = ? AND tile.row = ? AND tile.col = ?", key)
    if row is None:
        raise _unknown(name, _nearby(connection, match["frame"]))
    return row


def _one(
    connection: sqlite3.Connection, condition: str, values: tuple[object, ...]
) -> dict[str, Any] | None:
    cursor = connection.execute(f"{_QUERY}{condition} ORDER BY tile.id DESC LIMIT 1", values)
    row = cursor.fetchone()
    if row is None:
        return None
    return dict(zip((column[0] for column in cursor.description), row, strict=True))


def _full_id(connection: sqlite3.Connection, name: str, table: str) -> str:
    if not _HEX.fullmatch(name):
        raise _unknown(name)
    first = bytes.fromhex(name.ljust(ID_LENGTH, "0"))
    last = bytes.fromhex(name.ljust(ID_LENGTH, "f"))
    source = "tile" if table == "tile" else "tile JOIN outbox ON outbox.tile_id = tile.id"
    found = connection.execute(
        f"SELECT tile.sample_id FROM {source} WHERE tile.sample_id BETWEEN ? AND ? LIMIT 3",  # noqa: S608
        (first, last),
    ).fetchall()
    if not found:
        raise _unknown(name)
    if len(found) > 1:
        ids = ", ".join(sample_id.hex() for (sample_id,) in found)
        raise UnknownName(
            f'"{name}" begins more than one sample id',
            [Problem(f"among them {ids}", "give more of its digits")],
        )
    return str(found[0][0].hex())


def _nearby(connection: sqlite3.Connection, frame: str) -> str:
    """What the ledger does know of such a frame, as a hint."""
    rows = connection.execute(
        "SELECT frame.name, min(tile.row), min(tile.col), count(*) FROM frame"
        " JOIN tile ON tile.frame_id = frame.id WHERE frame.name = ? OR frame.name LIKE ?"
        " GROUP BY frame.name LIMIT 1",
        (frame, "%/" + frame),
    ).fetchall()
    if not rows:
        return "no frame of that name has tiles in the ledger; edge-agent status lists the surveys"
    name, row, column, count = rows[0]
    return f"the ledger has {count} tiles of {name}, the first is {address(name, row, column)}"


def _unknown(name: str, hint: str = "") -> UnknownName:
    usual = (
        "give a ledger number, a sample id or its first digits, or FRAME@ROW,COLUMN; "
        "edge-agent outbox list names samples"
    )
    return UnknownName(
        f'there is no "{name}" in the records',
        [Problem("nothing goes by that name", hint or usual)],
    )
