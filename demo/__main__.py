"""Walk one survey from imagery to the curation store, and show what came of it.

Without `--flight` a rehearsal survey is rendered first, so that the truth is known.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from demo.figures import (
    bytes_of_everything,
    foreign_ground,
    gather,
    is_rehearsal,
    table,
    truth_figures,
)
from demo.folder import DATABASE, REPORT, STORE, SURVEY, output_folder
from demo.processes import Server, StepError, run_json
from edge_agent.inference.bundle import Bundle, read_bundle
from operations.errors import ExitCode, OperatorError

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = REPOSITORY / "models"

ENDING = (signal.SIGTERM, signal.SIGHUP)

console = Console()


def walk(
    flight: Annotated[
        Path | None, typer.Option(help="Folder of GeoTIFFs or photos; without it, a rehearsal.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Model bundle for the flight.")] = None,
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo-output"),
    tiles: Annotated[int, typer.Option(min=250, help="Tiles of the rehearsal survey.")] = 3000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the rehearsal survey.")] = 7,
) -> None:
    """Run the whole path, print the figures, and keep the review page up at a terminal."""
    if flight is not None and not flight.exists():
        raise OperatorError(f"{flight} does not exist: give FLIGHT= a folder of images")
    drawn = flight is None or is_rehearsal(flight)
    model = bundle or MODELS / ("rehearsal" if drawn else "scenes-aerial")
    chosen = read_bundle(model)
    seconds: dict[str, float] = {}
    with output_folder(out, flight, model):
        imagery = flight if flight is not None else _rehearse(out / SURVEY, tiles, seed, seconds)
        with Server(out / STORE) as server:
            figures = _run(imagery, chosen, out, server.addresses["broker"], seconds)
            _tell(figures, out / REPORT)
            if sys.stdin.isatty() and sys.stdout.isatty():
                _show(server)


def _tell(figures: dict[str, Any], report: Path) -> None:
    report.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    console.print(table(figures))
    if sentence := foreign_ground(figures):
        console.print(sentence, highlight=False)
    console.print(f"The same figures: {report}")


def _rehearse(folder: Path, tiles: int, seed: int, seconds: dict[str, float]) -> Path:
    console.print(f"Rendering a rehearsal survey of about {tiles} tiles ...")
    with _timed(seconds, "rehearse"):
        run_json("edge-agent", "rehearse", str(folder), "--seed", f"{seed}", "--tiles", f"{tiles}")
    return folder


def _run(
    imagery: Path, bundle: Bundle, out: Path, broker: str, seconds: dict[str, float]
) -> dict[str, Any]:
    database = ["--database", str(out / DATABASE)]
    # The flight's own folder names its survey; a rehearsal's folder is called what it is.
    own = imagery.resolve() == (out / SURVEY).resolve()
    named = ["--survey", "rehearsal"] if own else []
    with _beside(bytes_of_everything, imagery, bundle) as everything:
        console.print(f"Filtering {imagery} with {bundle.id} ...")
        with _timed(seconds, "filter"):
            filtered = run_json(
                "edge-agent", "filter", str(imagery), "--bundle", str(bundle.folder),
                *database, *named,
                allowed=(ExitCode.DONE, ExitCode.SOME_FAILED),
            )  # fmt: skip
        console.print("Sending what was kept ...")
        with _timed(seconds, "sync"):
            synced = run_json(
                "edge-agent", "sync", "--drain", "--broker", broker, "--device", "demo", *database
            )
        samples = run_json(
            "server-sync", "samples", "list", "--limit", "0", "--data", str(out / STORE)
        )
        figures = gather(filtered, synced, samples, everything.result(), seconds)
    if is_rehearsal(imagery):
        figures["truth"] = truth_figures(imagery, samples)
    return figures


@contextmanager
def _beside(
    count: Callable[[Path, Bundle, Callable[[], bool]], int], imagery: Path, bundle: Bundle
) -> Iterator[Future[int]]:
    """Count in a thread beside the block, which ends the count when it is left early."""
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(count, imagery, bundle, stopped.is_set)
        finally:
            stopped.set()


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start


def _show(server: Server) -> None:
    console.print(f"Review page: [bold]{server.addresses['web']}[/]  (Ctrl-C ends it)")
    try:
        server.wait()
    except KeyboardInterrupt:
        console.print()


def _end_in_order(number: int, _frame: FrameType | None) -> None:
    """A signal that would end the process at once unwinds it instead: its children end first."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> None:
    """The walk, with its errors in words."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, _end_in_order)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(walk)
    try:
        app(standalone_mode=True)
    except (OperatorError, StepError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        sys.exit(getattr(error, "exit_code", ExitCode.CANNOT_RUN))


if __name__ == "__main__":
    main()
