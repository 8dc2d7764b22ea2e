"""`server-sync serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from operations import logs
from operations.errors import Problem, SettingsError
from server_sync import serving
from server_sync.cli.options import Config, Data, Store, address, settings_of
from server_sync.settings import ServerSettings


def serve(
    config: Config = None,
    data: Data = None,
    store: Store = None,
    broker: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The broker that devices use (mosquitto)."),
    ] = None,
    embedded_broker: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Run a small broker in this process, on loopback; port 0 takes a free one.",
        ),
    ] = None,
    web: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Where to show the review pages; port 0 takes a free one."
        ),
    ] = None,
    no_web: Annotated[bool, typer.Option("--no-web", help="No review pages.")] = False,
    ready_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Written once all is up: JSON with the addresses, for scripts."
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
) -> None:
    """Take samples in from devices and show them, until Ctrl-C or SIGTERM."""
    logs.set_up(log_level)
    if broker is not None and embedded_broker is not None:
        problem = Problem("--broker and --embedded-broker exclude each other", "give one of them")
        raise SettingsError("which broker?", [problem])
    if web is not None and no_web:
        problem = Problem("--web and --no-web exclude each other", "give one of them")
        raise SettingsError("review pages or none?", [problem])
    settings = _with_addresses(settings_of(config, data, store), broker, web, no_web=no_web)
    embedded = None
    if embedded_broker is not None:
        embedded = address(embedded_broker, "--embedded-broker", free_port=True)
    serving.serve(settings, embedded=embedded, ready_file=ready_file)


def _with_addresses(
    settings: ServerSettings, broker: str | None, web: str | None, *, no_web: bool
) -> ServerSettings:
    replace = msgspec.structs.replace
    if broker is not None:
        there = address(broker, "--broker", free_port=False)
        settings = replace(
            settings, broker=replace(settings.broker, host=there.host, port=there.port)
        )
    if web is not None:
        here = address(web, "--web", free_port=True)
        page = replace(settings.web, enabled=True, host=here.host, port=here.port)
        settings = replace(settings, web=page)
    if no_web:
        settings = replace(settings, web=replace(settings.web, enabled=False))
    return settings
