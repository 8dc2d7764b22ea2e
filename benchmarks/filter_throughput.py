"""The whole path, imagery to ledger, against the bare onnxruntime loop on the same tiles.

Each round runs both in a fresh process, one after the other, so that a machine that slows down
slows both. The bare loop has its batches ready in memory and does nothing but run the model; the
path reads, cuts, preprocesses, scores, hashes, decides, encodes and commits. Process start and
model load count for neither. CPU seconds are those of all threads in the same span. Prints one JSON
document, a list of cases. Without flags: the rehearsal bundle at its own ground sampling distance,
which is how the product cuts by default, and scenes-aerial at the mosaic's native one, where its
own would leave too few tiles; both on one orthomosaic of more than 1000 tiles.

    python benchmarks/filter_throughput.py --bundle models/scenes-aerial --imagery FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import onnxruntime as ort

from edge_agent.cli.filter_run import imagery_at, opened_filter, reading
from edge_agent.imagery.frames import TilePlan, open_frame
from edge_agent.imagery.settings import ImagerySettings
from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.preprocess import Preprocess
from edge_agent.inference.session import InferenceSettings
from edge_agent.settings import EdgeSettings, SurveySettings

REPOSITORY = Path(__file__).resolve().parent.parent


def settings_of(arguments: argparse.Namespace, database: Path) -> EdgeSettings:
    """The path's settings: all defaults but threads and batch."""
    defaults = EdgeSettings()
    return msgspec.structs.replace(
        defaults,
        survey=SurveySettings(name="benchmark", bundle=arguments.bundle),
        inference=InferenceSettings(batch_size=arguments.batch, threads=arguments.threads),
        records=msgspec.structs.replace(defaults.records, database=str(database)),
        imagery=imagery_of(arguments),
    )


def imagery_of(arguments: argparse.Namespace) -> ImagerySettings:
    """How both sides cut tiles."""
    return ImagerySettings(resample=arguments.resample)


def bare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of `session.run` alone, over all tiles."""
    bundle = read_bundle(Path(arguments.bundle))
    spec = bundle.description.input
    plan = TilePlan((spec.size[0], spec.size[1]), spec.gsd_m, imagery_of(arguments))
    pixels = []
    for file in imagery_at(Path(arguments.imagery)).files:
        with open_frame(file, plan) as frame:
            pixels += [tile.pixels for tile in frame.tiles() if tile.nodata_share <= 0.5]
    preprocess = Preprocess(spec)
    batches = [
        preprocess(pixels[start : start + arguments.batch])
        for start in range(0, len(pixels), arguments.batch)
    ]
    options = ort.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    sessions = [
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for path in bundle.model_paths
    ]
    for session in sessions:
        session.run(None, {spec.name: batches[0]})
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    for batch in batches:
        for session in sessions:
            session.run(None, {spec.name: batch})
    return {
        "seconds": time.perf_counter() - start_s,
        "cpu_seconds": time.process_time() - start_cpu_s,
        "tiles": len(pixels),
    }


def path(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the first file's opening to the last commit."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(arguments, Path(folder) / "edge.db")
        with opened_filter(settings) as (loop, bundle, survey_id):
            files = imagery_at(Path(arguments.imagery)).files
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            with closing(reading(settings, bundle, survey_id, files)) as events:
                report = loop.run(events, threading.Event().is_set, _nothing, _nothing)
            seconds = time.perf_counter() - start_s
            cpu_seconds = time.process_time() - start_cpu_s
    reached = report.tiles - sum(
        count for code, count in report.by_reason.items() if code.startswith("invalid")
    )
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "tiles": reached,
        "kept": report.kept,
        "peak_resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _nothing(*_: object) -> None:
    """The benchmark shows no progress."""


def one_round(role: str, arguments: argparse.Namespace, imagery: str) -> dict[str, Any]:
    """One side, in a process of its own."""
    command = [sys.executable, __file__, "--role", role, "--bundle", arguments.bundle]
    command += ["--imagery", imagery, "--threads", f"{arguments.threads}"]
    command += ["--batch", f"{arguments.batch}", "--resample", arguments.resample]
    # `edge-agent` sets this for itself; both sides get it here.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compare(arguments: argparse.Namespace, imagery: str) -> dict[str, Any]:
    """Both sides in turn, `rounds` times."""
    sides: dict[str, list[dict[str, Any]]] = {"bare": [], "path": []}
    for _ in range(arguments.rounds):
        for role, results in sides.items():
            results.append(one_round(role, arguments, imagery))
    rates = {
        role: [result["tiles"] / result["seconds"] for result in results]
        for role, results in sides.items()
    }
    ratios = [whole / bare_ for whole, bare_ in zip(rates["path"], rates["bare"], strict=True)]
    return {
        "bundle": read_bundle(Path(arguments.bundle)).id,
        "imagery": Path(imagery).name,
        "threads": arguments.threads,
        "batch": arguments.batch,
        "resample": arguments.resample,
        "rounds": arguments.rounds,
        "tiles": sides["path"][0]["tiles"],
        "kept": sides["path"][0]["kept"],
        "bare_tiles_per_s": round(statistics.median(rates["bare"]), 1),
        "path_tiles_per_s": round(statistics.median(rates["path"]), 1),
        "bare_cpu_s": round(statistics.median(r["cpu_seconds"] for r in sides["bare"]), 2),
        "path_cpu_s": round(statistics.median(r["cpu_seconds"] for r in sides["path"]), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "peak_resident_mb": round(max(result["peak_resident_mb"] for result in sides["path"]), 1),
    }


def main() -> None:
    """Parse flags, render imagery if none is given, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", help="default: both bundles of the repository")
    parser.add_argument("--imagery", help="file or folder; without it a rehearsal's orthomosaic")
    parser.add_argument(
        "--resample", choices=("native", "bundle-gsd"), help="default: as the product, bundle-gsd"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--role", choices=("bare", "path"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        print(json.dumps((bare if arguments.role == "bare" else path)(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        imagery = arguments.imagery or rehearsed(Path(folder) / "survey")
        print(json.dumps([compare(case, imagery) for case in cases(arguments)], indent=2))


def cases(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """The one case that the flags name, or the two of the default."""
    chosen = [(arguments.bundle, arguments.resample or ImagerySettings().resample)]
    if arguments.bundle is None:
        models = REPOSITORY / "models"
        chosen = [
            (str(models / "rehearsal"), arguments.resample or ImagerySettings().resample),
            (str(models / "scenes-aerial"), arguments.resample or "native"),
        ]
    return [
        argparse.Namespace(**vars(arguments) | {"bundle": bundle, "resample": resample})
        for bundle, resample in chosen
    ]


def rehearsed(survey: Path) -> str:
    """The orthomosaic of a survey with more than 1000 tiles in it alone."""
    command = [str(Path(sys.executable).parent / "edge-agent"), "rehearse", str(survey)]
    command += ["--tiles", "6000", "--seed", "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return str(survey / "orthomosaic.tif")


if __name__ == "__main__":
    main()
