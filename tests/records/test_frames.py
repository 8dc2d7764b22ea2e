"""Frames: opened again after a crash, cut anew, failed, and given a second chance."""

from __future__ import annotations

from types import ModuleType

from edge_agent.records.database import Database
from edge_agent.records.frames import list_frames, retry_frames
from edge_agent.records.ledger import begin_frame, fail_frame, forget_try, frame_state, note_try
from edge_agent.records.overview import overview
from edge_agent.records.values import FrameKey

KEY = FrameKey("DJI_0001.JPG", 12, 7)


def test_tries_are_counted_until_the_frame_comes_further(
    database: Database, build: ModuleType
) -> None:
    """Before it is opened: 0, 1, 2 that came to no end; a batch, an end and a stop count anew."""
    survey = build.survey(database)
    assert [note_try(database, survey.survey_id, KEY, 5.0) for _ in range(3)] == [0, 1, 2]
    row = frame_state(database, survey.survey_id, KEY)
    assert row is not None
    assert (row.tiles_done, row.finished) == (0, False)
    build.commit(database, survey, [build.judged(0)])
    assert note_try(database, survey.survey_id, KEY, 6.0) == 0
    forget_try(database, survey.survey_id, KEY)
    assert note_try(database, survey.survey_id, KEY, 7.0) == 0
    assert note_try(database, survey.survey_id, KEY, 8.0) == 1
    build.commit(database, survey, [build.judged(1)], finished=True)
    assert [note_try(database, survey.survey_id, KEY, 9.0) for _ in range(2)] == [0, 0]
    assert build.problems(database.connection) == []


def test_a_frame_that_killed_the_process_fails_like_any_other(
    database: Database, build: ModuleType
) -> None:
    """It was never begun but for its tries; its reason can be read back, and the count is over."""
    survey = build.survey(database)
    note_try(database, survey.survey_id, KEY, 5.0)
    fail_frame(database, survey.survey_id, KEY, "crashed", "three times", 6.0)
    row = frame_state(database, survey.survey_id, KEY)
    assert row is not None
    assert (row.failed, row.reason) == (True, "crashed")
    assert note_try(database, survey.survey_id, KEY, 7.0) == 0
    assert build.problems(database.connection) == []


def test_another_plan_of_as_many_tiles_starts_the_frame_again(
    database: Database, build: ModuleType
) -> None:
    """The same number of tiles in other places: going on in the middle would skip ground."""
    survey = build.survey(database)
    tiles = [build.judged(0), build.judged(1)]
    build.commit(database, survey, tiles, tile_count=4, plan="128 px at 0.6 m")
    row = frame_state(database, survey.survey_id, KEY)
    assert row is not None
    assert (row.tiles_done, row.plan) == (2, "128 px at 0.6 m")
    for plan, done in (("128 px at 0.6 m", 2), ("64 px at 0.6 m", 0), ("64 px at 0.6 m", 0)):
        row = begin_frame(database, survey.survey_id, KEY, build.frame(), 4, 6.0, plan)
        assert (row.tiles_done, row.plan) == (done, plan)
    again = [build.judged(1), build.judged(2)]
    result = build.commit(database, survey, again, tile_count=4, plan="64 px at 0.6 m")
    assert result.recorded == 1


def test_failed_frames_get_a_second_chance(database: Database, build: ModuleType) -> None:
    """By name, by survey or all; only the failed ones, from where they stood, counters and all."""
    survey, other = build.survey(database), build.survey(database, "south field")
    build.commit(database, survey, [build.judged(0)])
    fail_frame(database, survey.survey_id, KEY, "truncated", "cut short", 5.0)
    build.commit(database, survey, [build.judged(0)], name="good.jpg", finished=True)
    for context in (survey, other):
        fail_frame(database, context.survey_id, FrameKey("a.tif", 1, 1), "empty", "no bytes", 5.0)
    assert retry_frames(database, None, ["good.jpg", "none.jpg"]) == []
    assert retry_frames(database, "south field", None) == ["a.tif"]
    assert retry_frames(database, "north field", ["DJI_0001.JPG"]) == ["DJI_0001.JPG"]
    row = begin_frame(database, survey.survey_id, KEY, build.frame(), 10_000, 6.0)
    assert (row.tiles_done, row.finished, row.failed, row.reason) == (1, False, False, "")
    assert [(f.survey, f.name) for f in list_frames(database, failed=True)] == [
        ("north field", "a.tif")
    ]
    north = next(s for s in overview(database).surveys if s.name == "north field")
    assert north.by_prefix("failed") == {"empty": 1}
    assert retry_frames(database, None, None) == ["a.tif"]
    assert build.problems(database.connection) == []


def test_frames_are_listed_newest_first(database: Database, build: ModuleType) -> None:
    """With state, reason, message and how far they came."""
    survey = build.survey(database)
    build.commit(database, survey, [build.judged(0)], tile_count=3)
    fail_frame(database, survey.survey_id, FrameKey("a.tif", 1, 1), "empty", "no bytes", 5.0)
    first, second = list_frames(database)
    assert (first.name, first.state, first.reason, first.message) == (
        "a.tif", "failed", "empty", "no bytes",
    )  # fmt: skip
    assert (second.name, second.state, second.tiles_done, second.tile_count) == (
        "DJI_0001.JPG", "open", 1, 3,
    )  # fmt: skip
    assert list_frames(database, "nowhere") == []
    assert [frame.name for frame in list_frames(database, limit=1)] == ["a.tif"]
