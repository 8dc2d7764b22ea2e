"""The filter loop on small synthetic frames: resume, bad frames, duplicates, eviction, watching."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from edge_agent.cli.filter_run import (
    imagery_arriving,
    imagery_at,
    opened_filter,
    reading,
    run_filter,
)
from edge_agent.filter import FilterReport
from edge_agent.imagery.settings import ImagerySettings
from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.session import InferenceSettings, Session
from edge_agent.records.database import open_database
from edge_agent.records.recorder import ReadingMemory
from edge_agent.selection.policy import PolicySettings
from edge_agent.settings import EdgeSettings, SurveySettings


def frame(seed: int, width: int = 160, height: int = 96) -> Image.Image:
    """A frame of 5 x 3 tiles of 32 px, each of another colour, with texture."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(20, 236, (height // 32, width // 32, 3))
    pixels = np.kron(blocks, np.ones((32, 32, 1))) + rng.normal(0, 8, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture
def bundle(tiny_bundle: Callable[..., Path]) -> Path:
    """The channel-mean bundle with a calibration made from frames of other seeds."""
    folder = tiny_bundle()
    tiles = [
        np.asarray(frame(seed))[row : row + 32, column : column + 32]
        for seed in range(100, 110)
        for row in range(0, 96, 32)
        for column in range(0, 160, 32)
    ]
    description = read_bundle(folder)
    session = Session(description, InferenceSettings())
    outputs = session.run(session.prepare(tiles))
    np.savez(
        folder / "calibration.npz",
        logits=outputs.logits,
        labels=outputs.logits.argmax(axis=1),
        model_sha256=description.description.model.sha256,
        format=np.array(1),
    )
    return folder


@pytest.fixture
def imagery(tmp_path: Path) -> Path:
    """Three frames and, between them, a file that is no image."""
    folder = tmp_path / "flight"
    folder.mkdir()
    for number in range(3):
        frame(number).save(folder / f"f{number}.png")
    (folder / "f1-broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    return folder


@pytest.fixture
def settings(bundle: Path, tmp_path: Path) -> EdgeSettings:
    """Batches of 4, a tenth audited."""
    defaults = EdgeSettings()
    return msgspec.structs.replace(
        defaults,
        survey=SurveySettings(name="s", bundle=str(bundle)),
        inference=InferenceSettings(batch_size=4),
        policy=PolicySettings(audit_share=0.1),
        records=msgspec.structs.replace(defaults.records, database=str(tmp_path / "edge.db")),
        imagery=msgspec.structs.replace(defaults.imagery, settle_s=0.0, poll_s=0.05),
    )


def run(settings: EdgeSettings, imagery: Path) -> FilterReport:
    """The whole of `imagery`."""
    return run_filter(settings, imagery_at(imagery), threading.Event(), lambda _: None)


def rows(settings: EdgeSettings, query: str) -> list[tuple[Any, ...]]:
    """What the ledger says."""
    with closing(sqlite3.connect(settings.records.database)) as connection:
        return connection.execute(query).fetchall()


VERDICTS = (
    "select frame.name, tile.row, tile.col, tile.kept from tile"
    " join frame on frame.id = tile.frame_id order by 1, 2, 3"
)


def test_every_tile_has_one_verdict_and_a_bad_frame_one_entry(
    settings: EdgeSettings, imagery: Path
) -> None:
    """45 tiles of three frames are judged, the fourth file is failed by name, the run goes on."""
    report = run(settings, imagery)
    assert report.tiles == 45
    assert report.frames_finished == 3
    failed = [(name, reason) for name, reason, _ in report.frames_failed]
    assert failed == [("f1-broken.jpg", "truncated")]
    assert sum(report.by_reason.values()) == 45
    assert (report.frames_of_unknown_scale, report.frames_off_scale) == (3, 0)
    assert len(rows(settings, VERDICTS)) == 45
    states = dict(rows(settings, "select name, state from frame"))
    assert states == {
        "f0.png": "finished", "f1.png": "finished", "f2.png": "finished", "f1-broken.jpg": "failed",
    }  # fmt: skip


def test_frames_at_another_scale_than_the_models_are_told(
    settings: EdgeSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ground at twelve times the model's 0.1 m per pixel is counted and warned of, once."""
    folder = tmp_path / "coarse"
    folder.mkdir()
    for number in range(2):
        pixels = np.moveaxis(np.asarray(frame(number)), 2, 0)
        with rasterio.open(
            folder / f"g{number}.tif", "w", driver="GTiff", width=160, height=96, count=3,
            dtype="uint8", crs="EPSG:32633", transform=Affine(1.2, 0, 5e5, 0, -1.2, 5e6),
        ) as file:  # fmt: skip
            file.write(pixels)
    report = run(settings, folder)
    assert (report.frames_of_unknown_scale, report.frames_off_scale) == (0, 2)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "12 times coarser" in caplog.text


def test_a_second_run_does_nothing(settings: EdgeSettings, imagery: Path) -> None:
    """Finished and failed frames are known by name, size and time, and not opened again."""
    first = run(settings, imagery)
    before = rows(settings, VERDICTS)
    again = run(settings, imagery)
    assert (again.tiles, again.frames_skipped, again.frames_failed) == (0, 3, [])
    assert again.frames_failed_before == 1
    assert rows(settings, VERDICTS) == before
    assert first.kept > 0


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 11])
def test_stopped_anywhere_it_goes_on_to_the_same_end(
    settings: EdgeSettings, imagery: Path, steps: int, tmp_path: Path
) -> None:
    """Stopped after any number of events, a new filter ends with the undisturbed verdicts."""
    with opened_filter(settings) as (loop, bundle, survey_id):
        left = [steps]

        def stopped() -> bool:
            left[0] -= 1
            return left[0] < 0

        files = imagery_at(imagery).files
        with closing(reading(settings, bundle, survey_id, files)) as events:
            loop.run(events, stopped, lambda _: None, lambda: None)
    run(settings, imagery)
    elsewhere = str(tmp_path / "undisturbed.db")
    undisturbed = msgspec.structs.replace(
        settings, records=msgspec.structs.replace(settings.records, database=elsewhere)
    )
    run(undisturbed, imagery)
    assert rows(settings, VERDICTS) == rows(undisturbed, VERDICTS)
    samples = "select sample_id, data from outbox join payload using (tile_id) order by 1"
    assert rows(settings, samples) == rows(undisturbed, samples)


def test_cut_in_another_way_a_half_done_frame_starts_again(
    settings: EdgeSettings, imagery: Path
) -> None:
    """Stopped, and started with an overlap, no place of the new grid is left out."""
    with opened_filter(settings) as (loop, bundle, survey_id):
        left = [2]

        def stopped() -> bool:
            left[0] -= 1
            return left[0] < 0

        files = imagery_at(imagery).files
        with closing(reading(settings, bundle, survey_id, files)) as events:
            loop.run(events, stopped, lambda _: None, lambda: None)
    assert 0 < count_tiles(settings) < 45
    finer = msgspec.structs.replace(settings, imagery=ImagerySettings(overlap=0.5))
    run(finer, imagery)
    places = {(name, row, column) for name, row, column, _ in rows(settings, VERDICTS)}
    wanted = {
        (f"f{number}.png", row, column)
        for number in range(3)
        for row in range(0, 65, 16)
        for column in range(0, 129, 16)
    }
    assert wanted <= places
    assert set(rows(settings, "select state from frame where name like '%.png'")) == {("finished",)}


def test_a_file_that_kills_the_filter_is_left_behind(settings: EdgeSettings, imagery: Path) -> None:
    """After three deaths on one file it is failed as crashed, and the others are judged."""
    with (
        opened_filter(settings) as (_, _, survey_id),
        open_database(settings.records.database) as database,
    ):
        memory = ReadingMemory(database, survey_id)
        fatal = next(file for file in imagery_at(imagery).files if file.name == "f0.png")
        assert [memory.trying(fatal) for _ in range(3)] == [0, 1, 2]
    report = run(settings, imagery)
    assert [(name, reason) for name, reason, _ in report.frames_failed][:1] == [
        ("f0.png", "crashed")
    ]
    assert report.tiles == 30


def test_a_run_that_gets_further_clears_the_files_read_ahead(
    settings: EdgeSettings, imagery: Path
) -> None:
    """Deaths while another frame's tiles were being committed are not the read-ahead file's."""
    with (
        opened_filter(settings) as (_, _, survey_id),
        open_database(settings.records.database) as database,
    ):
        memory = ReadingMemory(database, survey_id)
        ahead = next(file for file in imagery_at(imagery).files if file.name == "f1.png")
        assert [memory.trying(ahead) for _ in range(2)] == [0, 1]
    run(settings, imagery / "f0.png")
    assert rows(settings, "select tries from frame where name = 'f1.png'") == [(0,)]
    assert [name for name, _, _ in run(settings, imagery).frames_failed] == ["f1-broken.jpg"]


def test_a_run_that_is_stopped_blames_no_file(settings: EdgeSettings, imagery: Path) -> None:
    """Stopped in good order any number of times, no file counts as one that kills."""
    for _ in range(5):
        with opened_filter(settings) as (loop, bundle, survey_id):
            files = imagery_at(imagery).files
            with closing(reading(settings, bundle, survey_id, files)) as events:
                assert events.get(10.0) is not None
                loop.run(events, lambda: True, lambda _: None, lambda: None)
    assert [entry for entry in rows(settings, "select tries from frame") if entry != (0,)] == []
    assert len(run(settings, imagery).frames_failed) == 1


def test_a_frame_seen_twice_is_kept_once(settings: EdgeSettings, imagery: Path) -> None:
    """A byte-identical copy of a frame adds only audit tiles: the rest repeats kept ones."""
    alone = run(settings, imagery)
    (imagery / "z-copy.png").write_bytes((imagery / "f0.png").read_bytes())
    report = run(settings, imagery)
    assert report.tiles == 15
    kept_before = rows(
        settings, "select count(*) from tile join frame on frame.id = tile.frame_id"
        " where frame.name = 'f0.png' and kept = 1",
    )[0][0]  # fmt: skip
    assert alone.kept >= kept_before > 0
    duplicates = report.by_reason["duplicate:content"] + report.by_reason["duplicate:perceptual"]
    assert duplicates + report.by_reason["audit"] >= kept_before
    assert not [code for code in report.by_reason if code.startswith("score")]


def test_a_second_flight_with_the_same_file_names_repeats_the_first_by_name(
    settings: EdgeSettings, imagery: Path
) -> None:
    """Another survey of the same frames finds the first one's tiles, and says whose they are."""
    first = run(settings, imagery)
    other = msgspec.structs.replace(settings.survey, name="t")
    report = run(msgspec.structs.replace(settings, survey=other), imagery)
    assert not [code for code in report.by_reason if code.startswith("score")]
    assert report.by_reason["duplicate:content"] > 0
    assert first.kept > 0
    facts = [facts for (facts,) in rows(settings, "select facts from tile")]
    assert [blob for blob in facts if b" of survey s" in blob]


def test_a_tile_given_up_is_no_longer_a_reason_to_skip(
    settings: EdgeSettings, imagery: Path
) -> None:
    """With room for nothing, every kept tile is evicted, and a copy is not called a duplicate."""
    tight = msgspec.structs.replace(
        settings, records=msgspec.structs.replace(settings.records, outbox_max_bytes=1)
    )
    (imagery / "z-copy.png").write_bytes((imagery / "f0.png").read_bytes())
    report = run(tight, imagery)
    assert report.kept == report.evicted > 0
    assert rows(tight, "select count(*) from outbox") == [(0,)]
    assert not [code for code in report.by_reason if code.startswith("duplicate:content")]


def test_watching_takes_files_as_they_arrive(settings: EdgeSettings, imagery: Path) -> None:
    """A file that arrives later is judged to its last tile while the filter keeps running."""
    stop = threading.Event()
    reports: list[FilterReport] = []
    arriving = imagery_arriving(settings, imagery, stop)
    worker = threading.Thread(
        target=lambda: reports.append(run_filter(settings, arriving, stop, lambda _: None))
    )
    worker.start()
    try:
        wait_for(lambda: count_tiles(settings) == 45)
        frame(9).save(imagery / ".f9.png.part", "PNG")
        (imagery / ".f9.png.part").rename(imagery / "f9.png")
        wait_for(lambda: count_tiles(settings) == 60)
    finally:
        stop.set()
        worker.join()
    assert reports[0].frames_finished == 4


def count_tiles(settings: EdgeSettings) -> int:
    """Rows of the ledger, 0 before there is one."""
    try:
        return int(rows(settings, "select count(*) from tile")[0][0])
    except sqlite3.OperationalError:
        return 0


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Until it holds."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")
