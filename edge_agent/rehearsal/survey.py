"""Renders a survey into a folder: frames, orthomosaic, truth."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_agent.rehearsal.camera import (
    FORWARD_OVERLAP,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    HEIGHT_M,
    SIDE_OVERLAP,
    Flight,
    Sensor,
    plan_flight,
)
from edge_agent.rehearsal.covers import GSD_M, LABELS, RARE, TILE_PX
from edge_agent.rehearsal.ground import Ground, Progress
from edge_agent.rehearsal.mosaic_file import covered, write_mosaic
from edge_agent.rehearsal.noise import Window
from edge_agent.rehearsal.novel_kinds import NOVEL_KINDS
from edge_agent.rehearsal.photo_file import write_photo
from edge_agent.rehearsal.place import EPSG, choose_place
from edge_agent.rehearsal.planted import render_ground
from edge_agent.rehearsal.truth import NOVEL_SHARE, RARE_SHARE, label_tiles
from edge_agent.rehearsal.truth_file import Truth
from operations.errors import OperatorError, Problem

FORMAT: Final = 1
FRAMES: Final = "frames"
MOSAIC: Final = "orthomosaic.tif"
TRUTH: Final = "truth.csv"
SUMMARY: Final = "survey.json"
_CONTENTS: Final = (FRAMES, MOSAIC, TRUTH, SUMMARY)
SEEDS: Final = 1_000_000
"""`edge-agent rehearse` takes seeds below; from here on they are kept for training the bundle."""
LEAST_TILES: Final = 250
MOST_TILES: Final = 30_000


@dataclass(frozen=True, slots=True)
class SurveyOrder:
    """What to render. The same order gives the same bytes."""

    seed: int
    tiles: int = 3000
    """About how many, frames and orthomosaic together; LEAST_TILES..MOST_TILES."""
    novel_share: float = 0.02
    """About which share of the tiles shows a novel thing."""
    rare_share: float = 0.012
    """About which share of the tiles is of the rare class."""


def render_survey(
    order: SurveyOrder, out: Path, *, force: bool, progress: Progress
) -> Mapping[str, Any]:
    """Render into `out`; returns what survey.json holds.

    A new folder appears whole or not at all; in one that is there, survey.json comes last. With
    `force`, a survey that is there is replaced; other files in the folder stay.

    Raises:
        OperatorError: `out` is no folder, is not empty (without `force`) or cannot be written.
    """
    _check(out, force)
    try:
        # A folder that is there stays the same folder: it may be a mount, or where the user is.
        beside = out if out.is_dir() else out.parent
        beside.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=".rehearsal.", suffix=".part", dir=beside))
        try:
            part = holder / "survey"
            part.mkdir()
            summary = _render(order, part, progress)
            _move(part, out)
        finally:
            shutil.rmtree(holder, ignore_errors=True)
    except OSError as error:
        hint = "is there space, and may you write there?"
        raise OperatorError(
            "the survey was not written", [Problem(f"{out}: {error.strerror or error}", hint)]
        ) from error
    return summary


def _check(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        problem = Problem(f"{out} is a file", "name a new or an empty folder")
    elif out.is_dir() and not force and any(out.iterdir()):
        problem = Problem(
            f"{out} is not empty",
            "name a new folder, or add --force to replace the survey in it",
        )
    elif not (out / SUMMARY).exists() and any((out / name).exists() for name in _CONTENTS):
        problem = Problem(
            f"{out} holds {FRAMES}, {MOSAIC} or {TRUTH}, but no {SUMMARY}: is it a survey at all?",
            "name another folder, or clear this one yourself",
        )
    else:
        return
    raise OperatorError("the survey was not rendered", [problem])


def _move(part: Path, out: Path) -> None:
    """Put the finished survey in place."""
    if not out.exists():
        part.rename(out)
        return
    # survey.json goes first and comes last: a folder without it holds no whole survey.
    for name in reversed(_CONTENTS):
        old = out / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for name in _CONTENTS:
        (part / name).rename(out / name)


def _render(order: SurveyOrder, folder: Path, progress: Progress) -> dict[str, Any]:
    flight, place = plan_flight(order.seed, order.tiles), choose_place(order.seed)
    ground, planted = render_ground(
        order.seed,
        flight.shape,
        novel_share=order.novel_share,
        rare_share=order.rare_share,
        progress=lambda share: progress(0.5 * share),
    )
    truth = Truth(place)
    _frames(order.seed, flight, ground, truth, folder / FRAMES, progress)
    valid = covered(order.seed, flight)
    whole = Window(0, 0, *flight.shape)
    labels = label_tiles(ground.classes, ground.novelty, len(NOVEL_KINDS), valid)
    truth.add(MOSAIC, MOSAIC, whole, False, labels)
    write_mosaic(folder / MOSAIC, ground.pixels, valid, place)
    truth.write(folder / TRUTH)
    summary = _summary(order, flight, truth, planted)
    text = json.dumps(summary, indent=2) + "\n"
    (folder / SUMMARY).write_text(text, encoding="utf-8")
    progress(1.0)
    return summary


def _frames(
    seed: int, flight: Flight, ground: Ground, truth: Truth, folder: Path, progress: Progress
) -> None:
    folder.mkdir()
    sensor = Sensor(seed)
    middles = np.array([(s.window.row, s.window.column) for s in flight.shots], dtype=np.float64)
    middles += (FRAME_HEIGHT / 2, FRAME_WIDTH / 2)
    longitudes, latitudes = truth.place.degrees(middles[:, 0], middles[:, 1])
    for number, shot in enumerate(flight.shots):
        at = float(longitudes[number]), float(latitudes[number])
        write_photo(folder / shot.name, sensor.take(ground.pixels, shot), shot, *at)
        maps = [plane[shot.window.slices] for plane in (ground.classes, ground.novelty)]
        if shot.turned:
            maps = [plane[::-1, ::-1] for plane in maps]
        labels = label_tiles(maps[0], maps[1], len(NOVEL_KINDS))
        name, first = f"{FRAMES}/{shot.name}", f"{FRAMES}/{shot.first}"
        truth.add(name, first, shot.window, shot.turned, labels)
        progress(0.5 + 0.42 * (number + 1) / len(flight.shots))


def _summary(
    order: SurveyOrder, flight: Flight, truth: Truth, planted: Mapping[str, int]
) -> dict[str, Any]:
    tiles = len(truth.rows)
    novel = {kind: truth.novelties[kind] for kind in NOVEL_KINDS if truth.novelties[kind]}
    return {
        "format": FORMAT,
        "seed": order.seed,
        "gsd_m": GSD_M,
        "crs": f"EPSG:{EPSG}",
        "tile_px": TILE_PX,
        "tiles_asked": order.tiles,
        "tiles": tiles,
        "frames": len(flight.shots),
        "frame_px": [FRAME_HEIGHT, FRAME_WIDTH],
        "lines": flight.lines,
        "overlap": {"forward": FORWARD_OVERLAP, "side": SIDE_OVERLAP},
        "height_m": round(HEIGHT_M, 3),
        "mosaic_px": list(flight.shape),
        "views": truth.groups,
        "rare_class": LABELS[RARE],
        "classes": {name: truth.classes[name] for name in LABELS},
        "without_ground": truth.classes[""],
        "novel": novel,
        "novel_share": round(sum(novel.values()) / tiles, 5),
        "rare_share": round(truth.classes[LABELS[RARE]] / tiles, 5),
        "planted": dict(planted),
        "rule": {"rare_from": RARE_SHARE, "novel_from": NOVEL_SHARE},
        "versions": {name: version(name) for name in ("tilesift", "numpy", "pillow", "rasterio")},
    }
