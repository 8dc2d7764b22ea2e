"""`edge-agent bundle`: make one of an exported model, check one, show one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from edge_agent.authoring.checking import examine
from edge_agent.authoring.joining import JoinOrder, join_bundles
from edge_agent.authoring.order import NORMALISATIONS, NOT_STATED, BundleOrder, Triple
from edge_agent.cli.bundle_view import known_facts, refuse, show_facts
from edge_agent.cli.options import JsonOption
from edge_agent.cli.records_view import print_json
from operations.errors import ExitCode
from operations.extras import needing

app = typer.Typer(help="Model bundles: make, join, check, show.", no_args_is_help=True)

FolderArgument = Annotated[Path, typer.Argument(help="The bundle's folder.", metavar="BUNDLE")]


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})(?:[xX](\d{1,5}))?", text.strip())
    if found is None:
        raise typer.BadParameter("a number of px, or HEIGHTxWIDTH such as 96x128")
    return int(found[1]), int(found[2] or found[1])


def _triple(text: str) -> Triple:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise typer.BadParameter("three numbers such as 123.7,116.3,103.5, or one for all")
    return values[0], values[1], values[2]


@app.command()
def create(
    model: Annotated[
        Path, typer.Argument(help="A classifier as ONNX, opset 11 to 22.", metavar="MODEL.onnx")
    ],
    labels: Annotated[
        Path,
        typer.Option(
            help="Class names in the model's order: one per line, JSON list or object, or CSV "
            "lines index,name."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The bundle's folder, new or empty.")],
    tile: Annotated[
        Any,
        typer.Option(
            "--size", parser=_size, metavar="N|HxW",
            help="Side, or height and width, of the input in px; not needed where the model has it "
            "fixed.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="a-z, 0-9, hyphens; else of the file.")] = None,
    version: Annotated[str, typer.Option(help="Of the bundle.")] = "1.0.0",
    normalise: Annotated[
        Literal["unit", "signed", "imagenet", "none"] | None,
        typer.Option(
            help="How training scaled pixels: 0..1 (unit, if nothing is said), -1..1 (signed), "
            "torchvision's ImageNet figures, or 0..255 as they are (none)."
        ),
    ] = None,
    mean: Annotated[
        Any,
        typer.Option(
            parser=_triple, metavar="R,G,B", help="x = (pixel - mean) / scale; pixels are 0..255."
        ),
    ] = None,
    scale: Annotated[
        Any, typer.Option(parser=_triple, metavar="R,G,B", help="See --mean; without it, 1.")
    ] = None,
    colour: Annotated[
        Literal["RGB", "BGR"], typer.Option(help="Order of the model's channels.")
    ] = "RGB",
    gsd: Annotated[
        float | None,
        typer.Option(help="Metres per pixel in training; without it the images' own, or 0.1."),
    ] = None,
    training_data: Annotated[str, typer.Option(help="What it was trained on.")] = NOT_STATED,
    licence: Annotated[str, typer.Option(help="Of the model.")] = NOT_STATED,
    output: Annotated[
        str | None, typer.Option(help="The model's output with class scores, if it has several.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Compare on tiles of these images too, 64 at most.", metavar="DIR"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the bundle that is there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a bundle of an exported classifier.

    Finds the last linear layer, exposes logits and embedding, and compares with the model as it
    was: probabilities must stay the same to 1e-5. Needs the extra `bundle`; the device does not.
    """
    if normalise is not None and (mean is not None or scale is not None):
        raise typer.BadParameter("--normalise and --mean or --scale exclude each other")
    if normalise is not None:
        mean, scale = NORMALISATIONS[normalise]
    out = out.absolute()
    order = BundleOrder(
        model, labels, out, tile, name, version, mean, scale, colour, gsd, training_data, licence,
        output, images, force,
    )  # fmt: skip
    with needing("bundle"):
        from edge_agent.authoring.creating import create_bundle

        created = create_bundle(order)
    examined = examine(out)
    refuse(examined)
    found = known_facts(examined)
    layer = None if created.linear is None else created.linear.operator
    found["made"] = {
        "output": created.answer,
        "last_layer": layer,
        "tiles": created.proof.tiles,
        "of_images": created.image_count,
        "probability_difference": created.proof.difference,
        "logit_difference": created.proof.head_difference,
    }
    found["notes"] = [*created.notes]
    if as_json:
        print_json(found)
        return
    show_facts(found)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"compared   on {created.proof.tiles} tiles, {created.image_count} of them of images: "
        f"probabilities differ by at most {created.proof.difference:.1e}"
    )
    console.print(Text(f"next       edge-agent calibrate {out} IMAGES"))


@app.command()
def join(
    bundles: Annotated[
        list[Path],
        typer.Argument(help="Bundles of one model each.", metavar="BUNDLE"),
    ],
    out: Annotated[Path, typer.Option(help="The ensemble's folder, new or empty.")],
    name: Annotated[str | None, typer.Option(help="a-z, 0-9, hyphens; else of the folder.")] = None,
    version: Annotated[str, typer.Option(help="Of the ensemble.")] = "1.0.0",
    force: Annotated[
        bool, typer.Option("--force", help="Replace the bundle that is there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an ensemble of bundles with the same labels and the same input.

    Where models of one task disagree, none of them knows: two more scores tell. Each member costs
    the time of one model. Calibrate the ensemble anew; its members' calibrations are not its own.
    """
    joined = join_bundles(JoinOrder(tuple(bundles), out.absolute(), name, version, force))
    examined = examine(out)
    refuse(examined)
    found = known_facts(examined)
    found["made"] = {
        "of": [{"bundle": part.name, "last_layer": part.known.source} for part in joined.members]
    }
    found["notes"] = [*joined.notes, *found["notes"]]
    if as_json:
        print_json(found)
        return
    show_facts(found)
    console = Console(highlight=False, soft_wrap=True)
    for part in joined.members:
        layer = part.known.source or "not known"
        console.print(Text(f"joined     {part.name}, last layer {layer}"))
    console.print(Text(f"next       edge-agent calibrate {out} IMAGES"))


@app.command()
def check(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Read all of a bundle and run its model: everything that is wrong, at once.

    Exit code 3 if something is.
    """
    examined = examine(folder)
    if as_json:
        print_json(
            {
                "bundle": str(folder),
                "ok": not examined.problems,
                "problems": [
                    {"message": each.message, "hint": each.hint} for each in examined.problems
                ],
                "notes": list(examined.notes),
            }
        )
        if examined.problems:
            raise typer.Exit(ExitCode.CANNOT_RUN)
        return
    refuse(examined)
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"{folder}: files, model and calibration fit together"))
    for note in examined.notes:
        console.print(Text(f"  note: {note}"))


@app.command()
def show(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Show a bundle: labels, input, files, calibration, and the scores that it can give."""
    examined = examine(folder)
    refuse(examined)
    found = known_facts(examined)
    if as_json:
        print_json(found)
    else:
        show_facts(found)
