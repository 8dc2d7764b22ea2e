"""The records' file: opened, checked, moved aside when damaged; transactions on it."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from edge_agent.records import connecting
from edge_agent.records.errors import RecordsCorrupt, RecordsUnavailable, named
from edge_agent.records.guard import Guard
from edge_agent.records.recovery import Remains, carry_over, set_aside, unfinished
from operations.errors import OperatorError, Problem

WAIT_S: Final = 20.0
"""How long to wait for the other process to close a damaged file."""
SLACK_PAGES: Final = 1024
"""Free pages left in the file: they will be needed again soon."""
_STEP_S: Final = 0.1

_logger = logging.getLogger(__name__)


class Database:
    """An open database; use as a context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection, guard: Guard | None) -> None:
        self.path = path
        self.connection = connection
        self._guard = guard

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, all or nothing; takes the write lock at once.

        Raises:
            RecordsCorrupt: the file is damaged, or another process found it so.
            RecordsFull: no room; nothing was written.
            RecordsBusy: another process held the file for too long.
            RecordsUnavailable: read-only, or the disk fails.
        """
        with self.named_errors():
            yield from self._transaction("BEGIN IMMEDIATE")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view. Raises as `writing`."""
        with self.named_errors():
            yield from self._transaction("BEGIN")

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into named ones, and pass damage on to the other process."""
        if self._guard is not None and self._guard.suspect:
            raise RecordsCorrupt(f"{self.path}: damage was found, it has to be opened again")
        try:
            yield
        except sqlite3.Error as error:
            ours = named(error, self.path)
            if ours is None:
                raise
            if isinstance(ours, RecordsCorrupt):
                _mark(self._guard)
            raise ours from error

    def release_space(self, max_pages: int = 2048) -> int:
        """Give free pages back to the disk, a few at a time; how many pages are still free."""
        with self.named_errors():
            free = self._free_pages()
            if free > SLACK_PAGES:
                pages = min(max_pages, free - SLACK_PAGES)
                # Through execute() the pragma frees one page only.
                self.connection.executescript(f"PRAGMA incremental_vacuum({pages});")
                free = self._free_pages()
        return free

    def free_disk(self) -> int:
        """Bytes that this user may still write where the file is."""
        found = os.statvfs(self.path.parent)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Close it; the last process to do so folds the write-ahead log into the file."""
        self.connection.close()
        if self._guard is not None:
            self._guard.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        self.connection.execute(begin)
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def _free_pages(self) -> int:
        return int(self.connection.execute("PRAGMA freelist_count").fetchone()[0])


def open_database(
    path: str | Path,
    *,
    create: bool = True,
    readonly: bool = False,
    check: bool = True,
    max_bytes: int = 0,
    wait_s: float = WAIT_S,
) -> Database:
    """Open the records and bring their schema up to date.

    A damaged file is moved aside as NAME.corrupt-N, reported in the log and as an event of the
    new database, and a new one is started; samples that can still be read come along. A file
    that another process has open is moved only once it let go, which it does as soon as it next
    uses the database (RecordsCorrupt).

    Args:
        create: make a file that is not there yet.
        readonly: neither create, migrate, check nor move.
        check: look through the whole file for damage.
        max_bytes: hard stop for the file's size, 0 for none.
        wait_s: how long to wait for another process to let go of a damaged file.

    Raises:
        OperatorError: not there, no permission, another program's file, a newer schema, or
            damaged and still held by another process.
    """
    file = Path(path)
    connecting.check_place(file, create=create and not readonly)
    if readonly:
        return Database(file, connecting.connect_readonly(file), None)
    guard = _guard(file)
    try:
        return _open_guarded(file, guard, check, max_bytes, time.monotonic() + wait_s)
    except BaseException:
        guard.close()
        raise


def _guard(file: Path) -> Guard:
    try:
        return Guard(file)
    except OSError as error:
        raise RecordsUnavailable(
            f"{file} cannot be opened",
            [Problem(f"{error.strerror}: {error.filename}", "run as the user that owns it")],
        ) from error


def _open_guarded(
    file: Path, guard: Guard, check: bool, max_bytes: int, deadline: float
) -> Database:
    remains: Remains | None = None
    while True:
        alone = False
        try:
            alone = _hold(file, guard, deadline)
            connection = connecting.connect(
                file, max_bytes=max_bytes, check=check or guard.suspect, thorough=guard.suspect
            )
        except RecordsCorrupt as error:
            marked = _mark(guard)
            if remains is not None or not marked:
                raise  # a new file and damaged at once: the disk is failing; or it cannot be told
            if alone:
                remains = set_aside(file, error)
            else:
                guard.release()
            continue
        if alone and remains is None:
            remains = unfinished(connection, file)
        if remains is not None:
            _bring(connection, remains, file)
        guard.clear_suspect()
        while alone and not guard.share():
            time.sleep(_STEP_S)  # the kernel lets go of one lock before it grants the other
        return Database(file, connection, guard)


def _bring(connection: sqlite3.Connection, remains: Remains, file: Path) -> None:
    try:
        carry_over(connection, remains, file, time.time())
    except BaseException:
        connection.close()
        raise


def _hold(file: Path, guard: Guard, deadline: float) -> bool:
    """Hold the file: alone when it is suspected of damage, else with others; whether alone."""
    while True:
        suspect = guard.suspect
        if guard.take() if suspect else guard.share():
            return suspect
        if time.monotonic() >= deadline:
            raise OperatorError(
                f"{file} is damaged, and another process has it open",
                [
                    Problem(
                        "it can be moved aside only when nobody uses it",
                        "stop edge-agent filter and sync (fuser FILE names them), then start again",
                    )
                ],
            )
        time.sleep(_STEP_S)


def _mark(guard: Guard | None) -> bool:
    """Whether the other process will learn of the damage."""
    if guard is None:
        return False
    try:
        guard.mark_suspect()
    except OSError as error:
        _logger.warning("cannot tell the other process of the damage: %s", error)
        return False
    return True
