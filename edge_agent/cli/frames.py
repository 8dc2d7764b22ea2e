"""`edge-agent frames`: which files were read, which failed and why; failed ones again."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_agent.cli.options import ConfigOption, DatabaseOption, JsonOption
from edge_agent.cli.records_view import changing, database_file, print_json, reading
from edge_agent.records.frames import FrameEntry, list_frames, retry_frames
from edge_agent.records.lookup import UnknownName
from operations.errors import Problem

app = typer.Typer(help="Files of the surveys: list, retry those that failed.", no_args_is_help=True)

SurveyOption = Annotated[str | None, typer.Option("--survey", help="Only of this survey.")]

_STATES = {"open": "under way", "finished": "finished", "failed": "failed"}


@app.command("list")
def list_files(
    config: ConfigOption = None,
    database: DatabaseOption = None,
    survey: SurveyOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many files at most.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List files, the latest first, with how far they have come and what was odd."""
    file, _ = database_file(config, database)
    with reading(file) as records:
        found = list_frames(records, survey, failed=failed, limit=limit)
    if as_json:
        print_json({"frames": msgspec.to_builtins(found)})
        return
    console = Console(highlight=False)
    if not found:
        console.print("no such file in the records")
        return
    console.print(_table(found))
    if any(frame.state == "failed" for frame in found):
        console.print("failed files are read again after: edge-agent frames retry NAME (or --all)")


@app.command()
def retry(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names as `frames list` shows them.", metavar="NAME")
    ] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    survey: SurveyOption = None,
    every: Annotated[bool, typer.Option("--all", help="All that failed.")] = False,
) -> None:
    """Let failed files be read again the next time the filter comes across them."""
    if bool(names) == every:
        raise UnknownName(
            "say which files",
            [Problem("give names, or --all", "see: edge-agent frames list --failed")],
        )
    file, _ = database_file(config, database)
    with changing(file) as records:
        failed = {frame.name for frame in list_frames(records, survey, failed=True, limit=-1)}
        unknown = [name for name in names or [] if name not in failed]
        if unknown:
            hint = "see: edge-agent frames list --failed"
            problems = [Problem(f'no failed file is called "{name}"', hint) for name in unknown]
            raise UnknownName("nothing was changed", problems)
        done = retry_frames(records, survey, None if every else names)
    typer.echo(f"{len(done)} will be read again")


def _table(frames: list[FrameEntry]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("survey", "file", "state", "tiles", "why, and what was odd"):
        table.add_column(heading, justify="right" if heading == "tiles" else "left")
    for frame in frames:
        told = [f"{frame.message} ({frame.reason})"] if frame.state == "failed" else []
        table.add_row(
            Text(frame.survey),
            Text(frame.name),
            _STATES[frame.state],
            f"{frame.tiles_done} of {frame.tile_count}",
            Text("; ".join((*told, *frame.notes))),
        )
    return table
