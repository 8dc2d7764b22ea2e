"""edge-agent rehearse: a survey with known truth, to try a policy on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge_agent.cli.options import JsonOption
from edge_agent.rehearsal.survey import LEAST_TILES, MOST_TILES, SEEDS, SurveyOrder, render_survey

OutArgument = Annotated[Path, typer.Argument(help="Folder to write, new or empty.", metavar="OUT")]
SeedOption = Annotated[
    int, typer.Option(min=0, max=SEEDS - 1, help="The same seed renders the same survey.")
]
TilesOption = Annotated[
    int,
    typer.Option(
        min=LEAST_TILES,
        max=MOST_TILES,
        help="About how many tiles of 128 px, frames and orthomosaic together. "
        "Whole frames are flown; the nearest number they give is taken.",
    ),
]
NovelOption = Annotated[
    float, typer.Option(min=0.0, max=0.2, help="About which share of tiles shows something novel.")
]
RareOption = Annotated[
    float, typer.Option(min=0.0, max=0.2, help="About which share of tiles is of the rare class.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace a survey that is there; other files stay.")
]


def rehearse(
    out: OutArgument,
    seed: SeedOption = 1,
    tiles: TilesOption = 3000,
    novel_share: NovelOption = 0.02,
    rare_share: RareOption = 0.012,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Render a survey of procedural ground with known truth.

    OUT gets frames/ (overlapping JPEGs with EXIF positions), orthomosaic.tif, truth.csv (each
    tile's class, novelty, duplicate group and position) and survey.json (counts).
    """
    order = SurveyOrder(seed, tiles, novel_share, rare_share)
    with _bar() as progress:
        summary = render_survey(order, out, force=force, progress=progress)
    if as_json:
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    else:
        console = Console()
        console.print(
            f"{out}: {summary['tiles']} tiles of {summary['frames']} frames and an orthomosaic",
            highlight=False,
            soft_wrap=True,
        )
        console.print(_table(summary))


@contextmanager
def _bar() -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("rendering"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("rendering", total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _table(summary: Mapping[str, Any]) -> Table:
    table = Table("shows", "tiles", "share")
    table.columns[1].justify = table.columns[2].justify = "right"

    def row(name: str, count: int) -> None:
        table.add_row(name, str(count), f"{100 * count / summary['tiles']:.1f} %")

    for name, count in summary["classes"].items():
        row(f"{name} (rare)" if name == summary["rare_class"] else name, count)
    row("no ground (mosaic edge)", summary["without_ground"])
    table.add_section()
    for name, count in summary["novel"].items():
        row(f"novel: {name}", count)
    table.add_section()
    row("same view as another", summary["tiles"] - summary["views"])
    return table
