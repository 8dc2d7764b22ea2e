"""What the commands on the records have in common."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from edge_agent.records.database import Database, open_database
from edge_agent.settings import EdgeSettings, load_settings


def database_file(config: Path | None, database: Path | None) -> tuple[Path, EdgeSettings]:
    """The records that the flags name, and the settings."""
    settings = load_settings(config)
    return database or Path(settings.records.database), settings


def reading(file: Path) -> Database:
    """The records, to look at."""
    return open_database(file, readonly=True)


def changing(file: Path) -> Database:
    """The records, to change a few rows: the daemons look for damage when they start."""
    return open_database(file, create=False, check=False)


def print_json(value: Any) -> None:
    """One JSON document on stdout; bytes as hex."""
    typer.echo(json.dumps(value, indent=2, default=bytes.hex, allow_nan=False))


def moment(seconds: float | None) -> str:
    """A time for people: UTC, to the second."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
