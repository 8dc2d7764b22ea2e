"""What `calibrate` and `evaluate` have in common: bundles look at sets of images."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from edge_agent.evaluation.intervals import Share
from edge_agent.evaluation.listing import LabelUse, Listing, SetSource, list_set
from edge_agent.evaluation.looking import Look, Seen, look_at
from edge_agent.imagery.frames import TilePlan
from edge_agent.inference.bundle import Bundle
from edge_agent.inference.session import Session
from edge_agent.settings import EdgeSettings
from operations.errors import OperatorError, Problem
from operations.extras import needing

_log = logging.getLogger(__name__)

BundleArgument = Annotated[Path, typer.Argument(help="Model bundle folder.")]
RootOption = Annotated[
    Path | None,
    typer.Option("--root", help="What the paths in a CSV are relative to; else its own folder."),
]
FramesOption = Annotated[
    bool,
    typer.Option(
        "--frames",
        help="Cut all images into tiles as the filter does, else each is one tile; DIR:frames "
        "does so for one set. Intervals then draw whole images, not tiles.",
    ),
]
UnlabelledOption = Annotated[
    bool, typer.Option("--unlabelled", help="Take folder names for no labels.")
]
ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Write a page here too, one file of HTML.")
]


class Viewer:
    """Shows sets to a bundle, with a bar where stderr is a terminal."""

    def __init__(self, bundle: Bundle, settings: EdgeSettings, *, frames: bool) -> None:
        spec = bundle.description.input
        self._labels = bundle.description.labels
        self._session = Session(bundle, settings.inference)
        self._plan = TilePlan((spec.size[0], spec.size[1]), spec.gsd_m, settings.imagery)
        self._frames = frames
        self._quality = settings.policy.quality
        self._batch_size = settings.inference.batch_size

    def see(self, name: str, source: SetSource, use: LabelUse) -> Seen:
        """All tiles of a set, seen by the bundle.

        Raises:
            ImageSetError: the set cannot be used, or not one of its images can be read.
        """
        frames = self._quality if self._frames or source.frames else None
        listing = list_set(source, self._labels, use if frames is None else "ignore")
        with _bar(name, listing, counted=frames is None) as seen:
            look = Look(self._session, self._plan, frames, self._batch_size, seen)
            return look_at(name, listing, look)


@contextmanager
def _bar(name: str, listing: Listing, *, counted: bool) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        total = len(listing.entries) if counted else None
        task = bar.add_task(f"tiles of {name}", total=total)
        yield lambda tiles: bar.update(task, advance=tiles)


def check_page_place(path: Path | None) -> None:
    """Before the work is done: can a page be written there?

    Raises:
        OperatorError: its folder is missing.
    """
    if path is not None and not path.absolute().parent.is_dir():
        problem = Problem(f"{path}: there is no folder {path.parent}", "make it, or choose another")
        raise OperatorError("the page cannot be written", [problem])


def write_page(path: Path, render: Callable[[], str]) -> bool:
    """Write the page that `render` gives; without the extra `report` say how to get it.

    Raises:
        OperatorError: the file cannot be written.
    """
    try:
        with needing("report"):
            text = render()
    except OperatorError as error:
        hints = "; ".join(problem.hint for problem in error.problems)
        _log.warning("no page was written: %s. To get it: %s", error.summary, hints)
        return False
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        problem = Problem(f"{path}: {error.strerror}", "choose another place")
        raise OperatorError("the page cannot be written", [problem]) from error
    return True


def told(share: Share) -> str:
    """`94.1 % (90.0 to 96.6)`."""
    if share.value is None:
        return "-"
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"
