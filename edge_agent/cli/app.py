"""The commands of `edge-agent`, and what all of them do with an error."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from edge_agent.cli import (
    bundle,
    calibrate,
    evaluate,
    explain,
    filter,  # noqa: A004
    frames,
    outbox,
    rehearse,
    scores,
    status,
    sync,
)
from operations import logs
from operations.errors import OperatorError

app = typer.Typer(
    name="edge-agent",
    help=(
        "Sift aerial tiles on board: keep what the model does not understand, send it home.\n\n"
        "Exit codes: 0 done; 1 a fault of the program; 2 wrong flags or settings; 3 something "
        "needed is missing or unusable; 4 samples were left unsent; 5 done, but some input could "
        "not be read; 6 stopped before the end."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("tilesift"))
        raise typer.Exit


@app.callback()
def common(
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error; also TILESIFT_LOG.")
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print it and end."),
    ] = False,
) -> None:
    """Flags before the command's name hold for every command."""
    logs.set_up(log_level)


app.command("rehearse")(rehearse.rehearse)
app.command("filter")(filter.filter_command)
app.command("calibrate")(calibrate.calibrate)
app.command("evaluate")(evaluate.evaluate)
app.command("scores")(scores.scores_command)
app.command("sync")(sync.sync_command)
app.command("status")(status.status)
app.command("explain")(explain.explain)
app.add_typer(bundle.app, name="bundle")
app.add_typer(frames.app, name="frames")
app.add_typer(outbox.app, name="outbox")


def main() -> None:
    """Run one command; an operator's error is told in words, with its exit code."""
    try:
        app()
    except OperatorError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
