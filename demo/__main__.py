"""Walk one survey from imagery to the curation store, and show what came of it.

Without `--flight` a rehearsal survey is rendered first, so that the truth is known.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from demo.figures import bytes_of_everything, gather, table, truth_figures
from demo.processes import Server, StepError, run_json
from edge_agent.inference.bundle import Bundle, read_bundle
from operations.errors import ExitCode, OperatorError

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = REPOSITORY / "models"
OWN_FILES = ("survey", "store", "edge.db", "edge.db-wal", "edge.db-shm", "report.json")

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
    model = bundle or (MODELS / "scenes-aerial" if flight else MODELS / "rehearsal")
    chosen = read_bundle(model)
    if flight is not None and not flight.exists():
        raise OperatorError(f"{flight} does not exist: give FLIGHT= a folder of images")
    _clear(out)
    seconds: dict[str, float] = {}
    imagery = flight if flight is not None else _rehearse(out / "survey", tiles, seed, seconds)
    with Server(out / "store") as server:
        figures = _run(imagery, chosen, out, server.addresses["broker"], seconds)
        truth = imagery / "truth.csv"
        if flight is None:
            figures["truth"] = truth_figures(truth, figures.pop("samples"))
        figures.pop("samples", None)
        report = out / "report.json"
        report.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        console.print(table(figures))
        console.print(f"The same figures: {report}")
        if sys.stdin.isatty() and sys.stdout.isatty():
            _show(server)


def _clear(out: Path) -> None:
    """Remove what an earlier walk left; files that are not the walk's own stay."""
    out.mkdir(parents=True, exist_ok=True)
    for name in OWN_FILES:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _rehearse(folder: Path, tiles: int, seed: int, seconds: dict[str, float]) -> Path:
    console.print(f"Rendering a rehearsal survey of about {tiles} tiles ...")
    with _timed(seconds, "rehearse"):
        run_json("edge-agent", "rehearse", str(folder), "--seed", f"{seed}", "--tiles", f"{tiles}")
    return folder


def _run(
    imagery: Path, bundle: Bundle, out: Path, broker: str, seconds: dict[str, float]
) -> dict[str, Any]:
    database = ["--database", str(out / "edge.db")]
    # The flight's own folder names its survey; a rehearsal's folder is called what it is.
    named = [] if imagery != out / "survey" else ["--survey", "rehearsal"]
    with ThreadPoolExecutor(1) as pool:
        everything = pool.submit(bytes_of_everything, imagery, bundle)
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
            "server-sync", "samples", "list", "--limit", "0", "--data", str(out / "store")
        )
        figures = gather(filtered, synced, samples, everything.result(), seconds)
    return figures | {"samples": samples}


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


def main() -> None:
    """The walk, with its errors in words."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(walk)
    try:
        app(standalone_mode=True)
    except (OperatorError, StepError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        sys.exit(getattr(error, "exit_code", ExitCode.CANNOT_RUN))


if __name__ == "__main__":
    main()
