"""`edge-agent filter`: judge imagery, keep what is worth sending."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge_agent.cli.filter_run import imagery_arriving, imagery_at, run_filter
from edge_agent.cli.filter_view import ProgressView, print_report, report_json
from edge_agent.cli.options import BundleOption, ConfigOption, DatabaseOption, JsonOption
from edge_agent.settings import EdgeSettings, load_settings
from operations.errors import ExitCode


def filter_command(
    imagery: Annotated[
        Path, typer.Argument(help="A GeoTIFF or photo, or a folder of them (and of folders).")
    ],
    config: ConfigOption = None,
    bundle: BundleOption = None,
    database: DatabaseOption = None,
    survey: Annotated[
        str, typer.Option(help="Survey name; overrides survey.name of the settings.")
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with files as they arrive, until stopped.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge every tile of IMAGERY and put the informative ones into the outbox.

    Started again after a stop or a power cut, it goes on where it was. Exit code 5: it ran to
    its end, but some frames could not be read, now or earlier. Exit code 6: it was stopped
    before its end. With --watch it ends with 0 when it is stopped.
    """
    settings = _with_flags(load_settings(config), imagery, bundle, database, survey)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    files = imagery_arriving(settings, imagery, stop) if watch else imagery_at(imagery)
    with ProgressView(files.count) as view:
        report = run_filter(settings, files, stop, view.show)
    if as_json:
        typer.echo(msgspec.json.encode(report_json(report, settings.survey.name)).decode())
    else:
        print_report(report)
    if watch:
        return
    if report.stopped:
        raise typer.Exit(ExitCode.STOPPED)
    if report.frames_failed or report.frames_failed_before:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _folder_name(imagery: Path) -> str:
    """A folder's whole name, dots and all; a file's without its suffix."""
    place = imagery.resolve()
    return place.stem if place.is_file() else place.name


def _with_flags(
    settings: EdgeSettings, imagery: Path, bundle: Path | None, database: Path | None, survey: str
) -> EdgeSettings:
    name = survey or settings.survey.name or _folder_name(imagery)
    chosen = msgspec.structs.replace(settings.survey, name=name)
    if bundle is not None:
        chosen = msgspec.structs.replace(chosen, bundle=str(bundle))
    records = settings.records
    if database is not None:
        records = msgspec.structs.replace(records, database=str(database))
    return msgspec.structs.replace(settings, survey=chosen, records=records)
