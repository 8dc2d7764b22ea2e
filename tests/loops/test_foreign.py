"""A survey that is foreign to the model: the alarm, what is kept after it, and a restart."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edge_agent.cli.app import app
from edge_agent.cli.filter_run import imagery_at, run_filter
from edge_agent.filter import FilterReport
from edge_agent.inference.bundle import BundleError, read_bundle
from edge_agent.inference.session import InferenceSettings, Session
from edge_agent.records.database import open_database
from edge_agent.records.ledger import last_events
from edge_agent.records.overview import overview
from edge_agent.selection.policy import PolicySettings
from edge_agent.settings import EdgeSettings, SurveySettings
from edge_agent.sync_outbox import Shelf

FRAMES = 10


def textured(colours: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Tiles of 32 px in (rows, columns, 3) colours."""
    pixels = np.kron(colours, np.ones((32, 32, 1)))
    pixels = pixels + rng.normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def familiar(seed: int) -> Image.Image:
    """5 x 3 tiles, each of another colour."""
    rng = np.random.default_rng(seed)
    return textured(rng.integers(60, 236, (3, 5, 3)), rng)


def foreign(seed: int) -> Image.Image:
    """Darker than anything the model knows, and of six colours only."""
    colours = np.random.default_rng(0).integers(0, 25, (6, 3))
    rng = np.random.default_rng(seed)
    return textured(colours[rng.integers(0, 6, (3, 5))], rng)


@pytest.fixture
def calibrated(tiny_bundle: Callable[..., Path]) -> Callable[..., Path]:
    """Writes the channel-mean bundle with a calibration of familiar tiles."""

    def make(frames: int = 12, embeddings: bool = True) -> Path:
        folder = tiny_bundle()
        tiles = [
            np.asarray(familiar(1000 + seed))[row : row + 32, column : column + 32]
            for seed in range(frames)
            for row in range(0, 96, 32)
            for column in range(0, 160, 32)
        ]
        bundle = read_bundle(folder)
        session = Session(bundle, InferenceSettings())
        outputs = session.run(session.prepare(tiles))
        arrays = {"features": outputs.features} if embeddings else {}
        np.savez(
            folder / "calibration.npz",
            logits=outputs.logits,
            model_sha256=bundle.model_sha256.hex(),
            format=np.array(1),
            **arrays,
        )
        return folder

    return make


def settings(bundle: Path, database: Path, **policy: Any) -> EdgeSettings:
    defaults = EdgeSettings()
    chosen = {"audit_share": 0.1, "duplicate_bits": -1} | policy
    return msgspec.structs.replace(
        defaults,
        survey=SurveySettings(name="s", bundle=str(bundle)),
        inference=InferenceSettings(batch_size=7),
        policy=PolicySettings(**chosen),
        records=msgspec.structs.replace(defaults.records, database=str(database)),
    )


def flight(folder: Path, kind: Callable[[int], Image.Image]) -> Path:
    folder.mkdir()
    for number in range(FRAMES):
        kind(number).save(folder / f"f{number}.png")
    return folder


def run(chosen: EdgeSettings, imagery: Path, stop_after: int | None = None) -> FilterReport:
    """All of `imagery`, or until so many tiles are judged."""
    stop = threading.Event()

    def show(report: FilterReport) -> None:
        if stop_after is not None and report.tiles >= stop_after:
            stop.set()

    return run_filter(chosen, imagery_at(imagery), stop, show)


def verdicts(database: Path) -> list[tuple[Any, ...]]:
    query = (
        "select frame.name, tile.row, tile.col, word.text from tile"
        " join frame on frame.id = frame_id join word on word.id = tile.reason order by 1, 2, 3"
    )
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def test_a_foreign_survey_keeps_the_diverse_and_the_audit(
    calibrated: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, in log and events; then fewer tiles are kept, all of the audit's among
    them."""
    imagery, bundle = flight(tmp_path / "dark", foreign), calibrated()
    ever, asked = tmp_path / "ever.db", tmp_path / "asked.db"
    run(settings(bundle, ever, foreign_alarm=0.0), imagery)
    with caplog.at_level(logging.WARNING):
        report = run(settings(bundle, asked), imagery)
    assert report.by_reason["foreign:alike"] > report.by_reason["score:ood"] > 0
    assert sum("foreign to the model" in text for text in caplog.messages) == 1
    drawn = [[v[:3] for v in verdicts(path) if v[3] == "audit"] for path in (ever, asked)]
    assert drawn[0] == drawn[1] != []
    with open_database(asked) as database:
        found = overview(database)
        (event,) = found.events
        drift = found.surveys[0].drift
        assert event.kind == "foreign"
        assert drift is not None
        assert drift.alarm is not None
        assert drift.tiles == 15 * FRAMES
        assert drift.votes == FRAMES
        rule = Shelf(database, 0).status("1").rules[0]
        assert (rule.rule, rule.active) == ("foreign_survey", True)
        assert rule.reason.startswith("the survey is foreign")
    with open_database(ever) as database:
        assert overview(database).surveys[0].drift is None
        assert Shelf(database, 0).status("1").rules == ()


def test_familiar_ground_raises_no_alarm(calibrated: Callable[..., Path], tmp_path: Path) -> None:
    """Ground like the calibration's is judged as without the test."""
    imagery, bundle = flight(tmp_path / "day", familiar), calibrated()
    never, asked = tmp_path / "never.db", tmp_path / "asked.db"
    run(settings(bundle, never, foreign_alarm=0.0), imagery)
    run(settings(bundle, asked), imagery)
    assert verdicts(never) == verdicts(asked)
    with open_database(asked) as database:
        drift = overview(database).surveys[0].drift
        assert drift is not None
        assert drift.alarm is None
        assert overview(database).events == ()


@pytest.mark.parametrize("stop_after", [20, 63, 64, 100])
def test_a_restart_changes_nothing(
    calibrated: Callable[..., Path], tmp_path: Path, stop_after: int
) -> None:
    """Stopped before the alarm or after it, and started again: the same verdicts and votes."""
    imagery, bundle = flight(tmp_path / "dark", foreign), calibrated()
    whole, cut = tmp_path / "whole.db", tmp_path / "cut.db"
    run(settings(bundle, whole), imagery)
    assert run(settings(bundle, cut), imagery, stop_after).stopped
    run(settings(bundle, cut), imagery)
    assert verdicts(whole) == verdicts(cut)
    drifts = []
    for path in (whole, cut):
        with open_database(path) as database:
            drifts.append(overview(database).surveys[0].drift)
    assert drifts[0] is not None
    assert drifts[1] is not None
    assert drifts[0].alarm == drifts[1].alarm
    assert (drifts[0].votes, drifts[0].share) == (drifts[1].votes, drifts[1].share)


@pytest.mark.parametrize("known", [False, True], ids=["calibration without", "with"])
def test_without_embeddings_a_share_is_drawn(
    calibrated: Callable[..., Path], tmp_path: Path, known: bool
) -> None:
    """Of the strange tiles about `foreign_share` are kept, the same ones each time; so, too,
    where the calibration knows embeddings that the bundle does not show."""
    imagery, bundle = flight(tmp_path / "dark", foreign), calibrated(embeddings=known)
    if known:
        lines = (bundle / "bundle.toml").read_text().splitlines(keepends=True)
        shown = [line for line in lines if not line.startswith("embedding")]
        assert len(shown) == len(lines) - 1
        (bundle / "bundle.toml").write_text("".join(shown))
    first, again = tmp_path / "first.db", tmp_path / "again.db"
    report = run(settings(bundle, first, foreign_share=0.3), imagery)
    run(settings(bundle, again, foreign_share=0.3), imagery)
    assert verdicts(first) == verdicts(again)
    with open_database(first) as database:
        told = [event.message for event in last_events(database) if event.kind == "foreign"]
    assert len(told) == 1
    assert "only a drawn share of the strange tiles is kept" in told[0]
    assert report.by_reason["foreign:alike"] == 0
    after = [v for v in verdicts(first) if v[0] >= "f6" and v[3] != "audit"]
    kept = sum(v[3] == "score:ood" for v in after)
    assert len(after) > 40
    assert 0.1 < kept / len(after) < 0.5


def test_a_calibration_too_small_says_so(
    calibrated: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """15 calibration tiles give no p-value of 0.05: nothing is tested, and `status` tells why."""
    imagery, bundle = flight(tmp_path / "dark", foreign), calibrated(frames=1)
    chosen = settings(bundle, tmp_path / "edge.db")
    thresholds = msgspec.structs.replace(chosen.policy.thresholds, ood=0.5)
    policy = msgspec.structs.replace(chosen.policy, thresholds=thresholds)
    with caplog.at_level(logging.WARNING):
        report = run(msgspec.structs.replace(chosen, policy=policy), imagery)
    assert any("not tested" in text for text in caplog.messages)
    assert report.by_reason["foreign:alike"] == 0
    shown = CliRunner().invoke(app, ["status", "--database", str(tmp_path / "edge.db")])
    assert "not tested for being foreign" in shown.output
    with open_database(tmp_path / "edge.db") as database:
        rule = Shelf(database, 0).status("1").rules[0]
    assert not rule.active
    assert "15 calibration tiles" in rule.reason


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"features": np.random.default_rng(0).normal(size=(180, 5))}, "fitted were 5"),
        ({"member_logits": np.random.default_rng(0).normal(size=(2, 180, 4))}, "an ensemble"),
    ],
    ids=["another embedding", "other members"],
)
def test_a_calibration_of_other_outputs_is_refused_before_the_flight(
    calibrated: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    """Bound to the model's hash, but made of outputs that this bundle does not show."""
    imagery, bundle = flight(tmp_path / "dark", foreign), calibrated()
    with np.load(bundle / "calibration.npz") as kept:
        arrays = dict(kept)
    np.savez(bundle / "calibration.npz", **(arrays | changes))
    with pytest.raises(BundleError) as caught:
        run(settings(bundle, tmp_path / "edge.db"), imagery)
    assert told in " ".join(problem.message for problem in caught.value.problems)
    assert not (tmp_path / "edge.db").exists()


def test_status_and_explain_tell_it(calibrated: Callable[..., Path], tmp_path: Path) -> None:
    """Since when, by how many votes, at least how much; and why one tile was not kept."""
    imagery, bundle = flight(tmp_path / "dark", foreign), calibrated()
    path = tmp_path / "edge.db"
    run(settings(bundle, path), imagery)
    shown = " ".join(CliRunner().invoke(app, ["status", "--database", str(path)]).output.split())
    assert "foreign to the model since" in shown
    assert "votes, at least" in shown
    name, row, column, _ = next(v for v in verdicts(path) if v[3] == "foreign:alike")
    told = CliRunner().invoke(app, ["explain", f"{name}@{row},{column}", "--database", str(path)])
    assert "the whole survey is foreign to the model, and this tile is like a kept one" in (
        " ".join(told.output.split())
    )
