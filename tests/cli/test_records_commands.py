"""`edge-agent status`, `outbox` and `explain` as an operator runs them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from edge_agent.cli import frames, main
from edge_agent.domain import Finding
from edge_agent.records import outbox
from edge_agent.records.database import open_database
from edge_agent.records.ledger import fail_frame
from edge_agent.records.lookup import UnknownName
from edge_agent.records.values import FrameKey
from sync_protocol.messages import Settlement


@pytest.fixture(scope="module")
def build(repository: Path) -> ModuleType:
    """The builders of the records' tests."""
    file = repository / "tests" / "records" / "building.py"
    spec = importlib.util.spec_from_file_location("records_building_cli", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def flown(tmp_path: Path, build: ModuleType) -> Path:
    """A database after a flight: six tiles, four kept, one sent, one set aside, one bad file."""
    path = tmp_path / "edge.db"
    with open_database(path) as database:
        survey = build.survey(database)
        twin = Finding("novelty", "flag", {"duplicate_of": "DJI_0001.JPG@0,0", "distance": 4})
        tiles = [build.judged(row, value=0.9 - 0.1 * row) for row in range(4)]
        tiles.append(build.judged(4, keep=False))
        tiles.append(build.judged(5, keep=False, reason="duplicate:perceptual", findings=(twin,)))
        kept = build.commit(database, survey, tiles, finished=True).kept
        key = FrameKey("bad.tif", 10, 7)
        fail_frame(database, survey.survey_id, key, "truncated", "ends too early", 5.0)
        settlement = Settlement(sample_id=kept[0].sample_id, outcome="stored")
        outbox.settle(database, [settlement], 6.0)
        outbox.quarantine(database, kept[3].sample_id, "three strikes")
    return path


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, answer: str = "") -> Done:
    """`edge-agent` with these arguments: its real entry point, in this process."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    before = (sys.argv, sys.stdin, root.handlers[:], root.level)
    sys.argv = ["edge-agent", *map(str, arguments)]
    sys.stdin = io.StringIO(answer)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
    finally:
        sys.argv, sys.stdin, root.handlers[:], level = before
        root.setLevel(level)
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same width and no colours, wherever the tests run."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


def document(*arguments: object) -> Any:
    """What a command prints with --json: one JSON document, and nothing on stderr."""
    done = run(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_status_shows_the_flight(flown: Path) -> None:
    """Frames, verdicts by reason, deliveries, the outbox, the bad file and the last events."""
    shown = run("status", "--database", flown)
    assert shown.returncode == 0
    for words in (
        "survey north field: scenes@1, policy abcdef",
        "1 finished, 0 under way, 1 failed (1 truncated)",
        "6 seen, 4 kept (4.0 kB), 2 skipped",
        "2 queued, 1 quarantined, 1 stored",
        "bad.tif: ends too early (truncated)",
        "1.0 kB stored at base, 2.0 kB still to send",
        "2 wait (0 tried before), 1 set aside; 3.0 kB of 536.9 MB",
        "three strikes",
    ):
        assert words in shown.stdout
    found = document("status", "--database", flown)
    (survey,) = found["surveys"]
    assert survey["counters"]["tiles_seen"] == 6
    assert survey["counters"]["skipped:duplicate:perceptual"] == 1
    assert found["outbox"]["waiting"] == 2


def test_the_commands_run_as_processes(flown: Path) -> None:
    """JSON alone on stdout, for scripts that pipe it on."""
    code = "from edge_agent.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "--json", "--database", str(flown)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["outbox"]["waiting"] == 2
    assert done.stderr == ""


def test_outbox_lists_what_goes_next(flown: Path) -> None:
    """The most valuable first, those set aside last, with the reason."""
    found = document("outbox", "list", "--database", flown)
    assert [(s["tile"], s["state"]) for s in found["samples"]] == [
        ("DJI_0001.JPG@1,0", "waiting"),
        ("DJI_0001.JPG@2,0", "waiting"),
        ("DJI_0001.JPG@3,0", "quarantined"),
    ]
    shown = run("outbox", "list", "--quarantined", "--database", flown).stdout
    assert "three strikes" in shown
    assert "1 of 1 shown" in shown


def test_outbox_shows_a_sample_and_saves_its_picture(
    flown: Path, tmp_path: Path, build: ModuleType
) -> None:
    """By the first digits of its id; the file holds the very bytes."""
    sample = document("outbox", "list", "--database", flown)["samples"][0]["sample"]
    file = tmp_path / "tile.jpg"
    shown = run("outbox", "show", sample[:10], "--save", file, "--database", flown)
    assert sample in shown.stdout
    assert file.read_bytes() == build.judged(1).payload
    found = document("outbox", "show", sample, "--database", flown)
    assert found["description"]["sample_id"] == sample
    assert found["description"]["row"] == 1


def test_outbox_retries_and_drops(flown: Path) -> None:
    """Set aside goes back in line; a drop asks first, and --all never touches what waits."""
    assert run("outbox", "retry", "--all", "--database", flown).stdout == "1 will be sent again\n"
    samples = document("outbox", "list", "--database", flown)["samples"]
    assert {s["state"] for s in samples} == {"waiting"}
    assert run("outbox", "drop", "--all", "--yes", "--database", flown).stdout == "0 deleted\n"
    first = samples[0]["sample"]
    refused = run("outbox", "drop", first, "--database", flown, answer="n\n")
    assert refused.returncode != 0
    assert run("outbox", "drop", first, "--yes", "--database", flown).stdout == "1 deleted\n"
    assert len(document("outbox", "list", "--database", flown)["samples"]) == 2
    assert "was deleted by an operator" in run("explain", first, "--database", flown).stdout


def test_outbox_names_every_unknown_sample(flown: Path) -> None:
    """One message for all of them, and nothing is changed."""
    known = document("outbox", "list", "--database", flown)["samples"][0]["sample"]
    done = run("outbox", "drop", known, "beef", "dead", "--yes", "--database", flown)
    assert done.returncode == 2
    assert '"beef"' in done.stderr
    assert '"dead"' in done.stderr
    assert len(document("outbox", "list", "--database", flown)["samples"]) == 3
    assert run("outbox", "retry", "--database", flown).returncode == 2


def test_frames_are_listed_and_retried(flown: Path) -> None:
    """With state, reason and tiles; only the failed are opened again, and none by a wrong name."""

    def ask(*arguments: object) -> Result:
        return CliRunner().invoke(frames.app, [*map(str, arguments), "--database", str(flown)])

    def listed(*arguments: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(ask("list", "--json", *arguments).stdout)["frames"]
        return found

    shown = ask("list").stdout
    for words in ("DJI_0001.JPG", "finished", "6 of 10000", "bad.tif", "ends too early"):
        assert words in shown
    (bad,) = listed("--failed")
    assert (bad["name"], bad["state"], bad["reason"]) == ("bad.tif", "failed", "truncated")
    assert listed("--survey", "other") == []
    assert len(listed("--limit", 1)) == 1
    refused = ask("retry", "bad.tif", "DJI_0001.JPG").exception
    assert isinstance(refused, UnknownName)
    assert 'no failed file is called "DJI_0001.JPG"' in str(refused)
    assert isinstance(ask("retry").exception, UnknownName)
    assert len(listed("--failed")) == 1
    assert ask("retry", "bad.tif").stdout == "1 will be read again\n"
    assert listed("--failed") == []
    assert ask("retry", "--all").stdout == "0 will be read again\n"
    assert "0 failed" in run("status", "--database", flown).stdout


def test_status_tells_what_base_refused(flown: Path) -> None:
    """How many and with which outcome; the samples are kept."""
    sample = document("outbox", "list", "--database", flown)["samples"][0]["sample"]
    with open_database(flown) as database:
        settlement = Settlement(sample_id=sample, outcome="unsupported", detail="no such policy")
        outbox.settle(database, [settlement], 7.0)
    shown = run("status", "--database", flown).stdout
    assert "refused  by base: 1 unsupported" in shown
    assert "base refused samples (unsupported: no such policy); they are set aside" in shown
    listed = run("outbox", "list", "--quarantined", "--database", flown).stdout
    assert "unsupported" in listed


def test_explain_finds_a_tile_by_any_name(flown: Path) -> None:
    """Ledger number, sample id, its beginning, and FRAME@ROW,COLUMN name the same tile."""
    by_place = document("explain", "DJI_0001.JPG@1,0", "--database", flown)
    for name in (by_place["number"], by_place["sample_id"], by_place["sample_id"][:8]):
        assert document("explain", name, "--database", flown) == by_place


def test_explain_tells_the_rule_that_decided(flown: Path, build: ModuleType) -> None:
    """Scores with p-values and thresholds, findings, and the verdict in words."""
    found = document("explain", "DJI_0001.JPG@1,0", "--database", flown)
    tile = build.judged(1)
    scores = {entry["score"]: entry for entry in found["scores"]}
    assert list(scores) == ["msp", "max_logit", "entropy", "margin"]
    assert scores["entropy"]["value"] == pytest.approx(tile.prediction.scores["entropy"], rel=1e-6)
    assert scores["entropy"]["kept_up_to_p_value"] == 0.02
    assert scores["msp"]["kept_up_to_p_value"] is None
    shown = run("explain", "DJI_0001.JPG@1,0", "--database", flown).stdout
    for words in ("Kept: entropy is stranger", "not in use", "waits in the outbox", "contrast"):
        assert words in shown
    shown = run("explain", "DJI_0001.JPG@4,0", "--database", flown).stdout
    assert "Skipped: familiar, no score in use is beyond its quantile" in shown
    shown = run("explain", "DJI_0001.JPG@5,0", "--database", flown).stdout
    assert "Skipped: looks like DJI_0001.JPG@0,0" in shown


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("999", "FRAME@ROW,COLUMN"),
        ("nonsense", "FRAME@ROW,COLUMN"),
        ("DJI_0001.JPG@77,0", "6 tiles of DJI_0001.JPG, the first is DJI_0001.JPG@0,0"),
        ("other.jpg@0,0", "no frame of that name"),
    ],
)
def test_explain_helps_with_a_wrong_name(flown: Path, name: str, hint: str) -> None:
    """An unknown tile is a usage error with a hint that fits."""
    done = run("explain", name, "--database", flown)
    assert (done.returncode, done.stdout) == (2, "")
    assert f'there is no "{name}"' in done.stderr
    assert hint in done.stderr


def test_commands_say_where_there_is_no_database(tmp_path: Path) -> None:
    """No database is made by looking for one."""
    for command in (["status"], ["outbox", "list"], ["outbox", "retry", "--all"], ["explain", "1"]):
        done = run(*command, "--database", tmp_path / "none.db")
        assert done.returncode == 3
        assert "there is no database at" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_text_is_answered_in_text(flown: Path) -> None:
    """Bytes of a file name that are no UTF-8 are asked for and answered without a traceback."""
    done = run("explain", "bad\udcff\udcfe.JPG@0,0", "--database", flown)
    assert done.returncode == 2
    assert "bad\\udcff" in done.stderr
