"""The metadata database: opened by URL, brought up to date, read and written in transactions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import alembic.command
import alembic.config
import alembic.script
import alembic.util
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from operations.errors import OperatorError, Problem

_BUSY_MS = 30_000
_MIGRATION_LOCK = 0x74_69_6C_65  # any number, the same for every worker


class Metadata:
    """A database at this version's schema."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction; commits at the end, rolls back on any error.

        On SQLite it takes the write lock at once: a transaction that reads first and writes later
        fails instead of waiting when another writer came between.
        """
        with self.engine.connect() as plain:
            connection = plain.execution_options(takes_write_lock=True)
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of the store."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def free_bytes(self) -> int | None:
        """Room left on the disk of a SQLite file; None for a database that is somewhere else."""
        name = self.engine.url.database
        if self.engine.dialect.name != "sqlite" or not name:
            return None
        state = os.statvfs(Path(name).parent)
        return state.f_bavail * state.f_frsize

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def open_metadata(url: str, *, create: bool = True) -> Metadata:
    """Connect and bring the schema up to date; or only look.

    Args:
        create: make a SQLite file (and its folder) that is not there yet. False: open a store
            that is there for reading; nothing is written, migrated or waited for.

    Raises:
        OperatorError: the URL does not hold, the database cannot be reached, is not there, was
            written by a newer version, or (only looking) by an older one.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            _prepare_file(parsed, create=create)
        options = {} if create else {"postgresql_readonly": True}
        engine = create_engine(parsed, pool_pre_ping=True, execution_options=options)
    except (ArgumentError, ImportError, OSError) as error:
        raise _cannot_open(url, error) from error
    if engine.dialect.name == "sqlite":
        _set_up_sqlite(engine, writes=create)
    store = Metadata(engine)
    try:
        if create:
            with store.writing() as connection:
                migrate(connection)
        else:
            with store.reading() as connection:
                _check_revision(connection)
    except (SQLAlchemyError, alembic.util.CommandError, _BehindError) as error:
        engine.dispose()
        raise _cannot_open(url, error) from error
    return store


class _BehindError(Exception):
    """The store was written by an older version."""


def _check_revision(connection: Connection) -> None:
    """See that the schema is this version's.

    Raises:
        alembic.util.CommandError: it is a newer version's.
        _BehindError: it is an older one's, or none at all.
    """
    scripts = alembic.script.ScriptDirectory.from_config(_alembic())
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        raise _BehindError("it holds no samples' tables yet")
    scripts.get_revision(revision)
    if revision != scripts.get_current_head():
        raise _BehindError("it was written by an older version")


def migrate(connection: Connection, target: str = "head") -> None:
    """Bring the schema to `target` inside the connection's transaction.

    Raises:
        alembic.util.CommandError: the database knows a revision that this version does not.
    """
    if connection.dialect.name == "postgresql":
        # Several workers may start at once; on SQLite the write lock does the same.
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATION_LOCK})
    settings = _alembic()
    settings.attributes["connection"] = connection
    alembic.command.upgrade(settings, target)


def _alembic() -> alembic.config.Config:
    settings = alembic.config.Config()
    settings.set_main_option("script_location", "server_sync.store:migrations")
    return settings


def _prepare_file(url: URL, *, create: bool) -> None:
    if not url.database or url.database == ":memory:":
        raise ArgumentError("a store in memory would be lost; name a file")
    file = Path(url.database)
    if create:
        file.parent.mkdir(parents=True, exist_ok=True)
    elif not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")


def _set_up_sqlite(engine: Engine, *, writes: bool) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: object, _entry: ConnectionPoolEntry) -> None:
        # The driver's own BEGIN comes too late (at the first write); ours stands in `_begin`.
        connection.isolation_level = None  # type: ignore[attr-defined]
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        if writes:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
        else:
            # Not the mode `ro`: a base that was killed leaves a log that the next one to open the
            # file has to recover.
            cursor.execute("PRAGMA query_only = ON")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        lock = connection.get_execution_options().get("takes_write_lock", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if lock else "BEGIN")


def _cannot_open(url: str, error: Exception) -> OperatorError:
    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        shown = url
    cause = str(getattr(error, "orig", None) or error).strip()
    if isinstance(error, alembic.util.CommandError):
        hint = "this store was written by a newer version of server-sync; install that one"
    elif isinstance(error, _BehindError):
        hint = "start `server-sync serve` once; it brings the store up to date"
    elif isinstance(error, ImportError):
        hint = "install the driver that this URL needs"
    else:
        hint = "check store.url (or --store, --data) and the folder's permissions"
    return OperatorError(f"cannot open the store {shown}", [Problem(cause, hint)])
