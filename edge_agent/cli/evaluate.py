"""`edge-agent evaluate`: what the scores are worth on familiar and on strange images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from edge_agent.cli.evaluate_view import show_evaluation
from edge_agent.cli.filter_run import calibration_of
from edge_agent.cli.image_sets import (
    BundleArgument,
    FramesOption,
    ReportOption,
    RootOption,
    UnlabelledOption,
    Viewer,
    check_page_place,
    write_page,
)
from edge_agent.cli.options import ConfigOption, JsonOption
from edge_agent.evaluation.comparison import Kind
from edge_agent.evaluation.evaluating import Evaluated, Stranger, evaluate_bundle
from edge_agent.evaluation.listing import ImageSetError, LabelUse, SetSource, parse_source
from edge_agent.inference.bundle import read_bundle
from edge_agent.settings import load_settings
from operations.errors import ExitCode, Problem

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]*\Z")


def evaluate(
    bundle: BundleArgument,
    familiar: Annotated[
        str,
        typer.Option(
            "--id",
            help="Familiar images, neither trained nor calibrated on: a folder of class folders, "
            "a folder, or a CSV of paths and labels (FILE.csv:part=test takes some rows).",
        ),
    ],
    ood: Annotated[
        list[str] | None,
        typer.Option(
            help="Images that the model does not know, given likewise; NAME=DIR names "
            "them. Repeat for more."
        ),
    ] = None,
    near: Annotated[
        list[str] | None, typer.Option(help="The same, close to what the model knows.")
    ] = None,
    far: Annotated[
        list[str] | None, typer.Option(help="The same, far from what the model knows.")
    ] = None,
    root: RootOption = None,
    unlabelled: UnlabelledOption = False,
    frames: FramesOption = False,
    prevalence: Annotated[
        float,
        typer.Option(min=1e-6, max=1.0, help="Share of OOD tiles in a flight, for its harvest."),
    ] = 0.02,
    report: ReportOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the scores of BUNDLE on familiar and on OOD images.

    OOD is the positive class, as in OpenOOD v1.5: FPR95 is the share of familiar tiles beyond
    the threshold that finds 95 % of the OOD tiles. Intervals are 95 %: bootstrap, Wilson for
    shares. Give at least one set with --ood, --near or --far.
    """
    check_page_place(report)
    sources = stranger_sources({"ood": ood, "near": near, "far": far}, root)
    model = read_bundle(bundle)
    calibration = calibration_of(model)
    viewer = Viewer(model, load_settings(config), frames=frames)
    use: LabelUse = "ignore" if unlabelled else "match"
    known = viewer.see("familiar", parse_source(familiar, root), use)
    strangers = [Stranger(viewer.see(name, source, "show"), kind) for name, source, kind in sources]
    found = evaluate_bundle(model.id, calibration, known, strangers, prevalence)
    if as_json:
        typer.echo(msgspec.json.encode(found.evaluation).decode())
    else:
        show_evaluation(found.evaluation)
    if report is not None:
        write_page(report, lambda: _page(found, model.description.labels))
    if any(seen.unreadable for seen in (known, *(stranger.seen for stranger in strangers))):
        raise typer.Exit(ExitCode.SOME_FAILED)


def stranger_sources(
    given: dict[Kind, list[str] | None], root: Path | None
) -> list[tuple[str, SetSource, Kind]]:
    """Name, place and kind of each set; unnamed ones are called after their folder.

    Raises:
        ImageSetError: there is none, or two have one name.
    """
    found: list[tuple[str, SetSource, Kind]] = []
    for kind, texts in given.items():
        for text in texts or []:
            name, equals, place = text.partition("=")
            if not equals or Path(text).exists() or not _NAME.match(name):
                name, place = "", text
            source = parse_source(place, root)
            found.append((name or source.place.resolve().name, source, kind))
    if not found:
        hint = "give it with --ood DIR, --near DIR or --far DIR"
        raise ImageSetError("nothing to compare with", [Problem("no set of OOD images", hint)])
    names = [name for name, _, _ in found]
    doubles = sorted({name for name in names if names.count(name) > 1 or name == "familiar"})
    if doubles:
        problem = Problem(f"two sets are called {', '.join(doubles)}", "name them: NAME=DIR")
        raise ImageSetError("the sets cannot be told apart", [problem])
    return found


def _page(found: Evaluated, labels: tuple[str, ...]) -> str:
    from edge_agent.reports.evaluation_page import evaluation_page

    return evaluation_page(found, labels)
