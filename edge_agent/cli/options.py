"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file (edge.toml). Without it, all defaults."),
]
DatabaseOption = Annotated[
    Path | None,
    typer.Option("--database", help="State database; overrides records.database of the settings."),
]
BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", help="Model bundle folder; overrides survey.bundle of the settings."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
