"""Whole surveys through the filter: does it find out that one is foreign, and what is kept?"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scores_measures import Floats, Judge

from edge_agent.cli.foreign_run import drift_test
from edge_agent.evaluation.evaluating import Opinion, strangest
from edge_agent.evaluation.looking import Seen
from edge_agent.imagery.frames import TilePlan, open_frame
from edge_agent.scoring.calibration import OOD, predicted, probabilities
from edge_agent.scoring.drift import Alarm, Sighting, log_evidence
from edge_agent.scoring.ground_blocks import METRES_PER_DEGREE
from edge_agent.scoring.survey_watch import SurveyWatch
from edge_agent.settings import EdgeSettings

REHEARSAL: Final = ("--tiles", "3000", "--seed", "7")
SHOWN: Final = 12
APART_M: Final = 20.0
"""Views whose centres are nearer show one place."""
AGENT: Final = Path(sys.executable).with_name("edge-agent")


@dataclass(frozen=True, slots=True)
class Survey:
    """A survey as the filter judged it."""

    name: str
    bundle: str
    tiles: int
    strange: int
    votes: int
    familiar_share: float
    alarm: Alarm | None
    kept: int
    kept_unasked: int
    """Had nobody asked whether the whole survey is foreign."""
    evidence: Floats
    """(tiles,) natural logarithm of the test's capital after each tile."""
    limit: float
    """Where it alarms."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """A tile among the strangest of the rehearsal."""

    row: int
    """Of the opinion's tiles."""
    p_value: float
    guess: str
    novelty: str
    """What was planted there; empty: nothing."""


def agent(*words: str | Path) -> dict[str, Any]:
    """What an `edge-agent` command says with --json."""
    done = subprocess.run(
        [AGENT, *words, "--json"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rehearse(folder: Path) -> Path:
    """A procedural survey of familiar ground with a few planted objects; its frames."""
    agent("rehearse", folder, *REHEARSAL)
    return folder / "frames"


def survey(name: str, judge: Judge, frames: Path, seen: Seen, scratch: Path) -> Survey:
    """Filter the survey as the product does, and follow the test tile by tile.

    `seen` are its tiles, cut as the filter cuts them.

    Raises:
        RuntimeError: what was followed is not what the filter did.
    """
    database, unasked, off = (scratch / f"{name}.{end}" for end in ("db", "unasked.db", "toml"))
    off.write_text("[policy]\nforeign_alarm = 0.0\n", encoding="utf-8")
    common = ("filter", frames, "--bundle", judge.bundle.folder)
    run = agent(*common, "--database", database)
    without = agent(*common, "--database", unasked, "--config", off)
    told = agent("status", "--database", database)["surveys"][0]["drift"]
    test = drift_test(judge.calibration, EdgeSettings().policy)
    watch, evidence = SurveyWatch(test), []
    for sighting in _sightings(judge, seen):
        watch.see(sighting)
        evidence.append(log_evidence(watch.state.votes, test.familiar_share))
    state = watch.state
    followed = (state.tiles, state.strange, None if state.alarm is None else state.alarm.tiles)
    said = (told["tiles"], told["strange"], told["alarm"] and told["alarm"]["tiles"])
    if followed != said:
        raise RuntimeError(f"{name}: followed {followed}, the filter says {said}")
    return Survey(
        name=name,
        bundle=judge.bundle.description.name,
        tiles=state.tiles,
        strange=state.strange,
        votes=state.cast,
        familiar_share=test.familiar_share,
        alarm=state.alarm,
        kept=run["kept"],
        kept_unasked=without["kept"],
        evidence=np.array(evidence),
        limit=-float(np.log(test.alarm)),
    )


def _sightings(judge: Judge, seen: Seen) -> Iterator[Sighting]:
    """The tiles in the filter's order, as the test is shown them."""
    p_values = judge.calibration.judge(seen.outputs).p_values[OOD]
    spec = judge.bundle.description.input
    plan = TilePlan((spec.size[0], spec.size[1]), spec.gsd_m, EdgeSettings().imagery)
    of_frame: dict[Path, dict[int, float]] = {}
    for (entry, index), p_value in zip(seen.origins, p_values, strict=True):
        of_frame.setdefault(entry.file.path, {})[index] = float(p_value)
    files = {entry.file.path: entry.file for entry, _ in seen.origins}
    for path, judged in of_frame.items():
        with open_frame(files[path], plan) as opened:
            for index, tile in enumerate(opened.tiles()):
                if index in judged:
                    side = None if tile.gsd_m is None else tile.gsd_m * max(tile.pixels.shape[:2])
                    yield Sighting(path.name, judged[index], tile.position, side)


def opinion(judge: Judge, seen: Seen) -> Opinion:
    """What the bundle makes of the tiles."""
    guesses = predicted(seen.outputs)
    sure = probabilities(seen.outputs)[np.arange(len(guesses)), guesses]
    return Opinion(seen, judge.calibration.judge(seen.outputs), guesses, sure)


def surprises(judge: Judge, looked: Opinion, folder: Path) -> tuple[list[Surprise], float]:
    """The strangest tiles of the rehearsal in `folder`, views of one place once, and which share
    of all its tiles shows something planted."""
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {
            f"{Path(row['frame']).name}@{row['row']},{row['column']}": row
            for row in csv.DictReader(file)
        }
    names, labels = looked.seen.names, judge.bundle.description.labels
    found: list[Surprise] = []
    places: list[Floats] = []
    for row in strangest(looked, len(names)):
        known = truth[names[row]]
        place = _metres(float(known["longitude"]), float(known["latitude"]))
        if len(found) < SHOWN and all(np.hypot(*(place - one)) > APART_M for one in places):
            places.append(place)
            p_value = float(looked.scored.p_values[OOD][row])
            found.append(Surprise(row, p_value, labels[looked.guesses[row]], known["novelty"]))
    return found, float(np.mean([truth[name]["novelty"] != "" for name in names]))


def _metres(longitude: float, latitude: float) -> Floats:
    """(2,) on a plane that is flat enough for one survey."""
    across = METRES_PER_DEGREE * np.cos(np.radians(latitude))
    return np.array([longitude * across, latitude * METRES_PER_DEGREE])
