"""`edge-agent calibrate`: held-out familiar images -> the bundle's calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_agent.authoring.known_heads import known_head
from edge_agent.cli.image_sets import (
    BundleArgument,
    FramesOption,
    ReportOption,
    RootOption,
    UnlabelledOption,
    Viewer,
    check_page_place,
    told,
    write_page,
)
from edge_agent.cli.options import ConfigOption, JsonOption
from edge_agent.evaluation.calibrating import Calibrated, CalibrationReport, calibrate_bundle
from edge_agent.evaluation.listing import LabelUse, parse_source
from edge_agent.evaluation.looking import Seen
from edge_agent.inference.bundle import CALIBRATION_FILE, Bundle, read_bundle
from edge_agent.inference.calibration_file import write_calibration
from edge_agent.scoring.calibration import CalibrationError, CalibrationOptions
from edge_agent.scoring.calibration_arrays import to_arrays
from edge_agent.scoring.fitting import suggested_neighbours
from edge_agent.scoring.references import Head, ScoreOptions
from edge_agent.settings import load_settings
from operations.errors import ExitCode, OperatorError, Problem

_SHOWN_CONFUSIONS: Final = 5
_LEGEND: Final = (
    "false alarms: familiar tiles called unusual by a calibration that has not seen them",
    "smallest p: no p-value can be lower; a threshold below it would never keep a tile",
    "stand-ins: AUROC of known classes, left out in turn, in the place of unknown ones",
    "fused: taken into ood, the one p-value of all evidence together",
)


def calibrate(
    bundle: BundleArgument,
    images: Annotated[
        str,
        typer.Argument(
            help="Familiar images that the model was not trained on: a folder of class folders, a "
            "folder, or a CSV of paths and labels (FILE.csv:part=calibration takes some rows)."
        ),
    ],
    training: Annotated[
        str | None,
        typer.Option(
            help="Images that the model was trained on, given likewise: a better "
            "picture of what is known, never ranked against."
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV with the labels of the images in folder IMAGES.")
    ] = None,
    root: RootOption = None,
    unlabelled: UnlabelledOption = False,
    frames: FramesOption = False,
    out: Annotated[
        Path | None, typer.Option(help="File to write, in place of the bundle's own.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a calibration.")] = False,
    neighbours: Annotated[
        int | None,
        typer.Option(min=1, help="k of knn; a tenth of the median class, 5 to 50, if not given."),
    ] = None,
    report: ReportOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Calibrate BUNDLE on IMAGES: what is unusual for a familiar tile?

    Each image is one tile, averaged to the model's input size. Near-duplicates are never parted
    when the calibration is put on trial. Unlabelled images give the scores that need no labels.
    """
    model = read_bundle(bundle, calibrated=False)
    target = out or bundle / CALIBRATION_FILE
    if target.exists() and not force:
        hint = "--force replaces it, --out writes another"
        raise OperatorError("nothing was done", [Problem(f"{target} exists", hint)])
    check_page_place(report)
    source = parse_source(images, root)
    if labels is not None:
        source = replace(source, labels=labels)
    viewer = Viewer(model, load_settings(config), frames=frames)
    use: LabelUse = "ignore" if unlabelled else "match"
    familiar = viewer.see("the familiar set", source, use)
    trained = None
    if training is not None:
        trained = viewer.see("the training set", parse_source(training, root), use)
    made = _calibrated(model, familiar, trained, neighbours)
    digest = model.model_sha256.hex()
    write_calibration(target, to_arrays(made.calibration), model_sha256=digest)
    _show(made.report, target, as_json)
    if report is not None:
        write_page(report, lambda: _page(made))
    if made.report.unreadable:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _calibrated(
    bundle: Bundle, familiar: Seen, training: Seen | None, neighbours: int | None
) -> Calibrated:
    fitting = familiar if training is None else training
    k = neighbours or suggested_neighbours(fitting.labels, len(fitting))
    options = CalibrationOptions(ScoreOptions(neighbours=k))
    name = f"{bundle.description.name}@{bundle.description.version}"
    names = bundle.description.labels
    known = known_head(bundle)
    head = None
    if known.head is not None:
        weight, bias = known.head.weight, known.head.bias
        head = Head(weight.astype(np.float64), bias.astype(np.float64))
    try:
        made = calibrate_bundle(name, names, familiar, training, head, options)
    except CalibrationError as error:
        problems = [
            Problem(text, "give more, and more different, images") for text in error.problems
        ]
        raise OperatorError("no calibration can be made of these images", problems) from error
    told = {"head_source": known.source, "head_lack": known.lack}
    return replace(made, report=msgspec.structs.replace(made.report, **told))


def _page(made: Calibrated) -> str:
    from edge_agent.reports.calibration_page import calibration_page

    return calibration_page(made)


def _show(report: CalibrationReport, target: Path, as_json: bool) -> None:
    if as_json:
        document = {"out": str(target), **msgspec.to_builtins(report)}
        typer.echo(msgspec.json.encode(document).decode())
        return
    console = Console(highlight=False, soft_wrap=True)
    trained = "" if report.training_tiles is None else f", {report.training_tiles} training tiles"
    console.print(f"{target}: {report.tiles} tiles of {report.contents} contents{trained}")
    if report.accuracy is not None:
        console.print(f"accuracy {told(report.accuracy)}")
        for confusion in report.confusions[:_SHOWN_CONFUSIONS]:
            console.print(
                f"  {confusion.truth} taken for {confusion.predicted}: {confusion.tiles}",
                markup=False,
            )
    if report.confidence is not None:
        sure = report.confidence
        console.print(
            f"temperature {sure.temperature:.2f}; expected calibration error "
            f"{sure.error_before:.3f} as it is, {sure.error_after:.3f} tempered"
        )
    console.print(Text(f"last layer: {report.head_in_words}"))
    console.print(_table(report))
    for line in _LEGEND:
        console.print(line, style="dim")
    console.print(f"ood fuses {', '.join(report.fused)}: {report.fused_because}")
    for name, lack in report.lacking.items():
        console.print(f"left out {name}: {lack}", markup=False)
    for warning in report.warnings:
        console.print(f"note: {warning}", markup=False)


def _table(report: CalibrationReport) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("score", "false alarms at p <= 0.05", "smallest p", "stand-ins", "fused"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name, alarms in report.false_alarms.items():
        stand_in = report.stand_in_auroc.get(name)
        table.add_row(
            name,
            told(alarms.rate),
            f"{alarms.smallest_p:.4f}",
            "" if stand_in is None else f"{stand_in:.3f}",
            "yes" if name in report.fused else "",
        )
    return table
