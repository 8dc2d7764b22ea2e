"""`edge-agent outbox`: what waits to be sent, and what to do about what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import sqlite_utils
import typer
from rich.console import Console
from rich.table import Table

from edge_agent.cli.options import ConfigOption, DatabaseOption, JsonOption
from edge_agent.cli.records_view import (
    changing,
    database_file,
    print_json,
    reading,
    size,
)
from edge_agent.records import outbox
from edge_agent.records.database import Database
from edge_agent.records.lookup import UnknownName, queued_id
from operations.errors import OperatorError, Problem
from sync_protocol.messages import SampleDescription

app = typer.Typer(
    help="Samples that wait to be sent: list, show, retry, drop.", no_args_is_help=True
)

_LIST = (
    "SELECT hex(outbox.sample_id) AS sample, survey.name AS survey,"
    " frame.name || '@' || tile.row || ',' || tile.col AS tile, word.text AS reason,"
    " tile.value, outbox.size AS bytes, outbox.priority, outbox.attempts,"
    " CASE outbox.quarantined WHEN 1 THEN 'quarantined' ELSE 'waiting' END AS state,"
    " tile.delivery_detail AS detail, outbox.queued_at, outbox.attempted_at"
    " FROM outbox JOIN tile ON tile.id = outbox.tile_id JOIN frame ON frame.id = tile.frame_id"
    " JOIN survey ON survey.id = outbox.survey_id JOIN word ON word.id = tile.reason"
    " WHERE outbox.quarantined >= ?"
    " ORDER BY outbox.quarantined, outbox.priority DESC, outbox.tile_id LIMIT ?"
)

Ids = Annotated[list[str] | None, typer.Argument(help="Sample ids, or their first digits.")]


@app.command("list")
def list_samples(
    config: ConfigOption = None,
    database: DatabaseOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many samples at most.")] = 20,
    quarantined: Annotated[
        bool,
        typer.Option("--quarantined", help="Only those set aside: sent in vain, or refused."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List samples in the order in which they go out; those set aside come last."""
    file, _ = database_file(config, database)
    with reading(file) as records:
        state = outbox.statistics(records)
        with records.named_errors():
            rows = list(
                sqlite_utils.Database(records.connection).query(_LIST, (int(quarantined), limit))
            )
    for row in rows:
        row["sample"] = row["sample"].lower()
    if as_json:
        print_json({"outbox": msgspec.to_builtins(state), "samples": rows})
        return
    console = Console(highlight=False)
    if rows:
        console.print(_table(rows))
    of = state.quarantined if quarantined else state.waiting + state.quarantined
    console.print(
        f"{len(rows)} of {of} shown; {state.waiting} wait, {state.quarantined} set aside, "
        f"{size(state.bytes)}"
    )


@app.command()
def show(
    sample: Annotated[str, typer.Argument(help="Sample id, or its first digits.")],
    config: ConfigOption = None,
    database: DatabaseOption = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the picture to this file.", metavar="FILE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what will be told to base about one sample."""
    file, _ = database_file(config, database)
    with reading(file) as records:
        sample_id = queued_id(records, sample)
        queued = outbox.queued_sample(records, sample_id)
        pixels = outbox.payload(records, sample_id)
    if queued is None or pixels is None:
        raise UnknownName(f"{sample_id} has just left the outbox")
    if save is not None:
        _save(save, pixels)
    if as_json:
        plain: dict[str, Any] = _plain(queued.description)
        print_json({"description": plain, "attempts": queued.attempts, "key": queued.priority})
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _plain(queued.description).items():
        table.add_row(name, _words(value))
    table.add_row("attempts", str(queued.attempts))
    Console(highlight=False, markup=False).print(table)


@app.command()
def retry(
    samples: Ids = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    every: Annotated[bool, typer.Option("--all", help="All that are set aside.")] = False,
) -> None:
    """Send samples again that were set aside, once base is set up to take them."""
    file, _ = database_file(config, database)
    with changing(file) as records:
        done = outbox.retry(records, _chosen(records, samples, every))
    typer.echo(f"{len(done)} will be sent again")


@app.command()
def drop(
    samples: Ids = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    every: Annotated[
        bool, typer.Option("--all", help="All that are set aside; never those that wait.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete samples for good; the ledger keeps that they were dropped."""
    file, _ = database_file(config, database)
    with changing(file) as records:
        chosen = _chosen(records, samples, every)
        if chosen and not yes:
            typer.confirm(f"Delete {len(chosen)} samples for good?", abort=True)
        done = outbox.drop(records, chosen)
    typer.echo(f"{len(done)} deleted")


def _chosen(records: Database, samples: list[str] | None, every: bool) -> list[str]:
    """Full ids; every unknown name is reported at once."""
    if bool(samples) == every:
        raise UnknownName(
            "say which samples",
            [Problem("give sample ids, or --all", "see: edge-agent outbox list")],
        )
    if every:
        return outbox.sample_ids(records, quarantined=True)
    found: list[str] = []
    problems: list[Problem] = []
    for name in samples or []:
        try:
            found.append(queued_id(records, name))
        except UnknownName as error:
            problems += [Problem(error.summary, each.hint) for each in error.problems]
    if problems:
        raise UnknownName("nothing was changed", problems)
    return list(dict.fromkeys(found))


def _plain(description: SampleDescription) -> dict[str, Any]:
    found = msgspec.to_builtins(description, builtin_types=(bytes,))
    if not isinstance(found, dict):
        raise TypeError("a description is a map")
    embedding = found.pop("embedding", None)
    if embedding is not None:
        found["embedding"] = f"{len(embedding['values'])} components"
    return found


def _words(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return "\n".join(_words(each) for each in value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("sample", "tile", "why", "value", "size", "tries"):
        numeric = heading in ("value", "size", "tries")
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        tries = f"{row['attempts']}"
        if row["state"] == "quarantined":
            tries += f" set aside: {row['detail']}"
        table.add_row(
            row["sample"][:12],
            row["tile"],
            row["reason"],
            f"{row['value']:.3f}",
            size(row["bytes"]),
            tries,
        )
    return table


def _save(file: Path, pixels: bytes) -> None:
    try:
        file.write_bytes(pixels)
    except OSError as error:
        raise OperatorError(
            f"{file} cannot be written", [Problem(error.strerror or str(error), "choose another")]
        ) from error
