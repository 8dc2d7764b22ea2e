"""Options that commands share: which settings file, which store."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from sqlalchemy import Connection

from operations import settings_file
from operations.errors import Problem, SettingsError
from server_sync.cli.terminal import json_safe
from server_sync.serving import Address
from server_sync.settings import ServerSettings
from server_sync.store.metadata import open_metadata

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="Settings file (server.toml)."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Keep everything in this folder: DIR/curation.db and DIR/blobs.",
    ),
]
Store = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Database of descriptions; wins over --data."),
]

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@contextmanager
def opened(settings: ServerSettings) -> Iterator[Connection]:
    """A consistent view of a store that must be there already.

    Raises:
        OperatorError: there is none, or it cannot be read.
    """
    metadata = open_metadata(settings.store.url, create=False)
    try:
        with metadata.reading() as connection:
            yield connection
    finally:
        metadata.close()


def print_json(content: Any) -> None:
    """One document on stdout."""
    sys.stdout.write(json_safe(json.dumps(content, ensure_ascii=False, indent=2)) + "\n")


def settings_of(config: Path | None, data: Path | None, store: str | None) -> ServerSettings:
    """The settings file, or the defaults without one, with the flags on top.

    Raises:
        SettingsError: the file does not hold.
    """
    settings = ServerSettings() if config is None else settings_file.load(config, ServerSettings)
    where = settings.store
    if data is not None:
        folder = data.absolute()
        where = msgspec.structs.replace(
            where, url=f"sqlite:///{folder / 'curation.db'}", blobs=str(folder / "blobs")
        )
    if store is not None:
        where = msgspec.structs.replace(where, url=store)
    return msgspec.structs.replace(settings, store=where)


def address(text: str, option: str, *, free_port: bool) -> Address:
    """Host and port of `HOST:PORT`, `[IPV6]:PORT`.

    Raises:
        SettingsError: it is not of that form.
    """
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    lowest = 0 if free_port else 1
    if not separator or not host or not port.isdecimal() or not lowest <= int(port) <= 65535:
        hint = "give HOST:PORT" + (", port 0 for a free one" if free_port else "")
        raise SettingsError(f"{option}: {text!r} is no address", [Problem("not HOST:PORT", hint)])
    return Address(host, int(port))


def wide_console() -> Console:
    """Stdout for tables: as wide as the terminal, and never cut short in a pipe or a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)
