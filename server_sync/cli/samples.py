"""`server-sync samples list|show|export`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import Connection

from operations.errors import ExitCode, OperatorError, Problem, SettingsError
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
from server_sync.curation import queries, words
from server_sync.domain import Sample, State
from server_sync.exports.folder import export_folder, properties
from server_sync.store.blobs import BlobFolder

app = typer.Typer(no_args_is_help=True, help="Look at samples, and take them out.")

ReasonOption = Annotated[
    str | None,
    typer.Option("--reason", metavar="CODE", help="Kept for this reason: score:entropy, audit."),
]
LabelOption = Annotated[
    str | None, typer.Option("--class", metavar="NAME", help="Predicted to be of this class.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", metavar="ID", help="Of this device.")]
SurveyOption = Annotated[
    str | None, typer.Option("--survey", metavar="NAME", help="Of this survey.")
]
OutcomeOption = Annotated[
    str | None,
    typer.Option(
        "--outcome",
        metavar="NAME",
        help="stored, duplicate, skipped, rejected, unsupported or wanted.",
    ),
]
_SAMPLE = re.compile(r"(?:([A-Za-z0-9._-]+)/)?([0-9a-f]{1,32})")


@app.command("list")
def list_samples(
    reason: ReasonOption = None,
    label: LabelOption = None,
    device: DeviceOption = None,
    survey: SurveyOption = None,
    outcome: OutcomeOption = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="At most so many; 0 shows all.")
    ] = 50,
    as_json: Json = False,
    config: Config = None,
    data: Data = None,
    store: Store = None,
) -> None:
    """List samples, the most valuable first."""
    wanted = _filter(reason, label, device, survey, outcome, default="all")
    with opened(settings_of(config, data, store)) as connection:
        found = queries.find(connection, wanted, limit=limit or None)
        total = queries.count(connection, wanted)
    if as_json:
        print_json([properties(sample) for sample in found])
        return
    console = wide_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("sample", "device", "class", "prob.", "value", "why", "outcome", "survey"):
        table.add_column(
            column,
            justify="right" if column in ("prob.", "value") else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=5 if column in ("prob.", "value") else 8,
        )
    for sample in found:
        probability = "" if sample.probability is None else words.percent(sample.probability)
        table.add_row(
            sample.key.sample_id[:8],
            cell(sample.key.device),
            cell(sample.label or "-"),
            probability,
            f"{sample.value:.2f}",
            cell(words.main_reason(sample)),
            str(sample.state),
            cell(sample.survey),
        )
    console.print(table)
    console.print(f"{len(found)} of {total} samples", style="dim")


@app.command("show")
def show(
    sample: Annotated[
        str, typer.Argument(metavar="SAMPLE", help="Its id, the first digits of it, or DEVICE/id.")
    ],
    as_json: Json = False,
    config: Config = None,
    data: Data = None,
    store: Store = None,
) -> None:
    """Show a sample: where from, why kept, all scores and findings."""
    with opened(settings_of(config, data, store)) as connection:
        found = _one(connection, sample)
    if as_json:
        print_json(properties(found))
        return
    _print_sample(Console(), found)


@app.command("export")
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to.")],
    reason: ReasonOption = None,
    label: LabelOption = None,
    device: DeviceOption = None,
    survey: SurveyOption = None,
    outcome: OutcomeOption = None,
    as_json: Json = False,
    config: Config = None,
    data: Data = None,
    store: Store = None,
) -> None:
    """Write pictures and index.geojson to a folder; the same again changes nothing."""
    settings = settings_of(config, data, store)
    wanted = _filter(reason, label, device, survey, outcome, default="pictures")
    with opened(settings) as connection:
        blobs = BlobFolder(Path(settings.store.blobs))
        samples = track(
            queries.every(connection, wanted),
            "exporting",
            total=queries.count(connection, wanted),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        done = export_folder(samples, blobs, out)
    if as_json:
        print_json(
            {
                "samples": done.samples,
                "written": done.written,
                "placed": done.placed,
                "removed": done.removed,
                "missing": list(done.missing),
                "index": str(out / "index.geojson"),
            }
        )
    else:
        gone = f"; {done.removed} of an earlier export removed" if done.removed else ""
        Console().print(
            cell(
                f"{done.samples} samples in {out}: {done.written} pictures written, "
                f"{done.placed} with a place; index.geojson lists them{gone}"
            )
        )
    if done.missing:
        sys.stderr.write(f"no blob for {', '.join(done.missing)}\n")
        raise typer.Exit(int(ExitCode.SOME_FAILED))


def _filter(
    reason: str | None,
    label: str | None,
    device: str | None,
    survey: str | None,
    outcome: str | None,
    default: queries.Outcome,
) -> queries.Filter:
    if outcome is None:
        chosen = default
    elif outcome in list(State):
        chosen = State(outcome)
    else:
        known = ", ".join(State)
        raise SettingsError(
            f"there is no outcome {outcome!r}", [Problem("unknown outcome", f"give one of {known}")]
        )
    return queries.Filter(reason, label, device, survey, chosen)


def _one(connection: Connection, text: str) -> Sample:
    match = _SAMPLE.fullmatch(text)
    if match is None:
        problem = Problem("a sample's id is made of 0-9 and a-f", "see `server-sync samples list`")
        raise SettingsError(f"{text!r} names no sample", [problem])
    found = queries.by_prefix(connection, match[2], match[1])
    if not found:
        problem = Problem("none begins so", "see `server-sync samples list`")
        raise OperatorError(f"no sample {text}", [problem])
    if len(found) > 1:
        names = [Problem(f"{each.key.device}/{each.key.sample_id}") for each in found]
        raise SettingsError(f"{text} names several samples; give more of it", names)
    return found[0]


def _print_sample(console: Console, sample: Sample) -> None:
    console.print(cell(f"{sample.key.device}/{sample.key.sample_id}", "bold"))
    console.print(cell(words.outcome_sentence(sample)))
    for sentence in words.explain(sample):
        console.print(cell(f"  - {sentence}"))
    table = Table(box=None, show_header=False, pad_edge=False)
    rows: list[tuple[str, str]] = [
        ("value", f"{sample.value:.3f}"),
        ("classes", ", ".join(f"{n} {words.percent(p)}" for n, p in sample.probabilities[:5])),
        ("scores", ", ".join(f"{n} {words.number(v)}" for n, v in sample.scores.items())),
        ("p-values", ", ".join(f"{n} {words.number(v)}" for n, v in sample.p_values.items())),
        *(("finding", words.finding_sentence(each)) for each in sample.findings),
        ("quality", "-" if sample.quality is None else f"{sample.quality:.1f} of 5"),
        ("survey", sample.survey),
        ("frame", f"{sample.frame}, row {sample.row}, column {sample.column}"),
        ("place", _place(sample)),
        ("captured", _captured(sample)),
        ("order", f"boot {sample.boot}, sequence {sample.sequence}"),
        ("bundle", f"{sample.bundle} ({sample.bundle_sha256[:12]})"),
        ("policy", sample.policy),
        ("picture", f"{sample.payload_type}, {words.byte_size(sample.payload_size)}"),
        ("sha256", sample.payload_sha256),
    ]
    for name, value in rows:
        table.add_row(name, cell(value))
    console.print(table)


def _captured(sample: Sample) -> str:
    moment = "unknown" if sample.captured_at is None else words.captured(sample.captured_at)
    return f"{moment} (clock: {sample.clock})"


def _place(sample: Sample) -> str:
    if sample.longitude is None or sample.latitude is None:
        return "unknown"
    sigma = "" if sample.sigma_m is None else f", within {words.number(sample.sigma_m)} m (1 sigma)"
    return f"{sample.latitude:.6f}, {sample.longitude:.6f} (latitude, longitude){sigma}"
