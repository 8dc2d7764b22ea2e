"""A process that judges a survey, drift test and all, until it ends or is killed: DATABASE."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import building

from edge_agent.domain import Judged, Position
from edge_agent.novelty.leaders import Leaders
from edge_agent.records.batch import commit_batch
from edge_agent.records.database import Database, open_database
from edge_agent.records.drift import read_drift
from edge_agent.records.ledger import begin_frame
from edge_agent.records.values import Caps, FrameKey, FrameProgress, Survey
from edge_agent.scoring.drift import DriftTest, Sighting
from edge_agent.scoring.survey_watch import SurveyWatch

FRAMES, TILES, BATCH = 12, 60, 7
CAPACITY = 40
TEST = DriftTest(familiar_share=0.125)


def tiles_of(number: int) -> list[Judged]:
    """The same tiles whenever they are asked for."""
    rng = np.random.default_rng(number)
    return [
        building.judged(row, keep=bool(rng.random() < 0.4), value=float(rng.random()), seed=number)
        for row in range(TILES)
    ]


def sighting(frame: int, row: int) -> Sighting:
    """Tiles along a line that each frame flies 60 m further on; half of them strange."""
    p_value = 0.01 if np.random.default_rng([frame, row]).random() < 0.5 else 0.6
    place = Position(8.0 + (frame * 60.0 + row * 3.0) / 77_000.0, 46.0)
    return Sighting(f"frame-{frame}", p_value, place, 3.0)


def judge(database: Database, survey: Survey, watch: SurveyWatch, leaders: Leaders) -> None:
    """Batch by batch, from where the database says it stands."""
    for frame in range(FRAMES):
        name = f"frame-{frame}"
        shown = building.frame(name)
        key = FrameKey(name, len(name), 7)
        row = begin_frame(database, survey.survey_id, key, shown, TILES, 1.0)
        done = row.tiles_done
        while done < TILES:
            batch = tiles_of(frame)[done : done + BATCH]
            for index in range(len(batch)):
                watch.see(sighting(frame, done + index))
            kept = {
                f"{name}@{one.tile.row},0": one.prediction.embedding
                for one in batch
                if one.verdict.keep and one.prediction and one.prediction.embedding is not None
            }
            for address, embedding in kept.items():
                leaders.add(address, embedding)
            done += len(batch)
            news = replace(watch.take_news(), leaders=kept, leader_capacity=CAPACITY)
            result = commit_batch(
                database, survey, [(row.frame_id, shown, one) for one in batch],
                [FrameProgress(row.frame_id, done, done == TILES)], Caps(30_000), 1000.0, news,
            )  # fmt: skip
            for address in result.evicted_addresses:
                leaders.forget(address)


def resumed(database: Database, survey: Survey) -> tuple[SurveyWatch, Leaders]:
    """What an earlier start left."""
    memory = read_drift(database, survey.run_id)
    leaders = Leaders(128, CAPACITY)
    for address, vector in memory.leaders:
        leaders.add(address, vector)
    return SurveyWatch(TEST, memory.state, memory.blocks), leaders


def main(path: str) -> None:
    """To the end, however often it was cut short before."""
    with open_database(path) as database:
        survey = building.survey(database)
        watch, leaders = resumed(database, survey)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        judge(database, survey, watch, leaders)


if __name__ == "__main__":
    main(sys.argv[1])
