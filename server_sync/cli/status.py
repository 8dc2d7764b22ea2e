"""`server-sync status`."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from rich.table import Table

from server_sync.cli.options import (
    Config,
    Data,
    Json,
    Store,
    opened,
    print_json,
    settings_of,
    wide_console,
)
from server_sync.cli.terminal import cell
from server_sync.curation import summary, words


def status(
    as_json: Json = False, config: Config = None, data: Data = None, store: Store = None
) -> None:
    """What is in the store, and what each device last told of itself."""
    with opened(settings_of(config, data, store)) as connection:
        totals = summary.totals(connection)
        devices = summary.device_states(connection)
        set_aside = summary.quarantined(connection, 5)
    if as_json:
        print_json(
            {
                **dataclasses.asdict(totals),
                "device_states": [dataclasses.asdict(device) for device in devices],
            }
        )
        return
    console = wide_console()
    console.print(
        f"{totals.samples} samples, {totals.pictures} pictures "
        f"({words.byte_size(totals.picture_bytes)}), {totals.surveys} surveys"
    )
    for outcome, number in totals.outcomes.items():
        console.print(f"  {outcome:<12} {number:>8}")
    if totals.under_way_bytes:
        console.print(
            f"  {words.byte_size(totals.under_way_bytes)} received of unfinished pictures"
        )
    console.print(_device_table(devices))
    console.print(f"{totals.quarantined} messages in quarantine")
    for each in set_aside:
        console.print(cell(f"  {_time(each.at_ms)} {each.topic}: {each.error}"))


def _device_table(devices: list[summary.DeviceState]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("device", "link", "last heard of", "samples", "survey", "bundle", "version"):
        table.add_column(column, justify="right" if column == "samples" else "left")
    for device in devices:
        link = {True: "online", False: "offline", None: "unknown"}[device.online]
        table.add_row(
            cell(device.device),
            link,
            _time(device.seen_ms),
            str(device.samples),
            cell(device.survey or "-"),
            cell(device.bundle or "-"),
            cell(device.agent_version or "-"),
        )
    return table


def _time(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
