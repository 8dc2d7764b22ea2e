"""`edge-agent sync`: send what waits to base, whenever there is a link."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from edge_agent.cli.options import ConfigOption, DatabaseOption, JsonOption
from edge_agent.records.database import open_database
from edge_agent.records.outbox import statistics
from edge_agent.settings import load_settings
from edge_agent.sync import Drain, Turned, run_sync
from edge_agent.sync_actions import SyncReport
from operations import sd_notify
from operations.broker import BrokerSettings
from operations.errors import ExitCode, Problem, SettingsError
from sync_protocol.topics import is_device_id

DrainOption = Annotated[bool, typer.Option("--drain", help="End when nothing is left to send.")]
TimeoutOption = Annotated[
    float,
    typer.Option(
        min=0.0, help="With --drain: give up after so many seconds in which nothing moved."
    ),
]
BrokerOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Overrides broker.host and broker.port of the settings."
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option(help="Device id; overrides uplink.device of the settings.")
]


def sync_command(
    config: ConfigOption = None,
    database: DatabaseOption = None,
    drain: DrainOption = False,
    timeout: TimeoutOption = 120.0,
    broker: BrokerOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send the samples of the outbox to base and delete what base has stored.

    Runs until it is stopped, or with --drain until nothing is left. Exit code 4: a drain ended
    with samples left over.
    """
    settings = load_settings(config)
    path = database or Path(settings.records.database)
    with _shown(path if drain else None) as turned:
        report = run_sync(
            path,
            _device(device if device is not None else settings.uplink.device),
            settings.uplink,
            settings.broker if broker is None else _address(broker, settings.broker),
            drain=Drain(timeout) if drain else None,
            stop=_stopped_by_signals(),
            turned=turned,
        )
    sd_notify.stopping()
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        _print(report)
    if drain and report.left:
        raise typer.Exit(ExitCode.LEFT_OVER)


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


@contextmanager
def _shown(drained: Path | None) -> Iterator[Turned]:
    """Says when the work begins and feeds the watchdog; at a terminal also a bar, with an end
    where an outbox is drained."""
    heart = sd_notify.Progress()
    total = None
    if drained is not None and drained.exists():
        with open_database(drained, readonly=True) as database:
            total = statistics(database).waiting
    columns = (
        TextColumn("samples"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, disable=not sys.stderr.isatty(), transient=True
    ) as bar:
        task = bar.add_task("sync", total=total, told="")

        begun = False

        def turned(told: str, report: SyncReport) -> None:
            nonlocal begun
            if not begun:
                # The watchdog counts from here; only now is the outbox open, and known to be whole.
                begun = True
                sd_notify.ready(told)
            heart.made(told)
            bar.update(task, completed=sum(report.settled.values()), told=told)

        yield turned


def _device(name: str) -> str:
    chosen = name or socket.gethostname()
    if not is_device_id(chosen):
        raise SettingsError(
            f'"{chosen}" cannot name a device',
            [
                Problem(
                    "it takes 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first",
                    "set uplink.device, or give --device",
                )
            ],
        )
    return chosen


def _address(text: str, settings: BrokerSettings) -> BrokerSettings:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        raise SettingsError(
            f'"{text}" is no broker address',
            [Problem("--broker takes HOST:PORT", "for example --broker 192.168.1.10:1883")],
        )
    return msgspec.structs.replace(settings, host=host, port=int(port))


def _print(report: SyncReport) -> None:
    console = Console(highlight=False)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.settled.items()))
    console.print(f"{report.device}: {outcomes or 'nothing settled'}")
    console.print(f"sent {report.sent_bytes / 1000:.1f} kB in {report.connections} connections")
    if report.quarantined:
        console.print(f"{report.quarantined} set aside: see edge-agent outbox list", style="yellow")
    console.print(f"{report.left} left in the outbox")
