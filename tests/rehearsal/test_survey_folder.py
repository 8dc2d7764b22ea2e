"""What lies in a survey's folder, and how it gets there."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from edge_agent.rehearsal.covers import LABELS
from edge_agent.rehearsal.survey import SEEDS, SurveyOrder, render_survey
from operations.errors import ExitCode, OperatorError


def render(out: Path, seed: int = 5, *, force: bool = False) -> None:
    render_survey(SurveyOrder(seed, 250), out, force=force, progress=lambda share: None)


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def edge_agent(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from edge_agent.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """A seed renders byte-identical files each time, and another seed renders other ground."""
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        render(tmp_path / name, seed)
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert len(one) >= 5
    assert not set(one.values()) & set(other.values())


def test_truth_has_each_tile_once(rendered) -> None:
    """Truth has a row for every 128 px window of every image, and none besides."""
    cut = {
        (name, row, column)
        for name, image in rendered.images.items()
        for row in range(0, image.shape[0], 128)
        for column in range(0, image.shape[1], 128)
    }
    told = [(row["frame"], int(row["row"]), int(row["column"])) for row in rendered.rows]
    assert len(told) == len(set(told))
    assert set(told) == cut
    assert {(row["height"], row["width"]) for row in rendered.rows} == {("128", "128")}
    for image in rendered.images.values():
        assert image.shape[0] % 128 == image.shape[1] % 128 == 0


def test_summary_adds_up(rendered) -> None:
    """survey.json states what truth.csv counts to, and the shares are near those asked for."""
    rows, summary = rendered.rows, rendered.summary
    classes = Counter(row["class"] for row in rows)
    novel = Counter(row["novelty"] for row in rows if row["novelty"])
    assert summary["tiles"] == len(rows)
    assert summary["classes"] == {label: classes[label] for label in LABELS}
    assert summary["without_ground"] == classes[""]
    assert summary["novel"] == dict(novel)
    assert summary["views"] == len({row["group"] for row in rows})
    assert summary["frames"] == len(rendered.images) - 1
    assert summary["novel_share"] == pytest.approx(novel.total() / len(rows), abs=1e-5)
    assert 0.02 <= summary["novel_share"] <= 0.07
    assert 0.01 <= summary["rare_share"] <= 0.06
    assert abs(summary["tiles"] - 1500) < 150


def test_every_class_is_there(rendered) -> None:
    """A survey of this size shows every class, the rare one included, and several novel kinds."""
    assert all(count > 0 for count in rendered.summary["classes"].values())
    assert len(rendered.summary["novel"]) >= 3


def test_no_novelty_when_none_is_asked_for(tmp_path: Path) -> None:
    """With both shares at 0, no pixel of any tile is novel and no tile is rare."""
    order = SurveyOrder(9, 400, novel_share=0.0, rare_share=0.0)
    summary = render_survey(order, tmp_path / "s", force=False, progress=lambda share: None)
    assert summary["planted"] == {"rare": 0, "novel": 0}
    assert summary["novel"] == {}
    assert summary["classes"]["orchid"] == 0


def test_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    """A folder that is not empty is left as it is, and the message says what to do."""
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(OperatorError, match="not empty") as caught:
        render(tmp_path)
    assert "--force" in caught.value.problems[0].hint
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_refuses_a_file(tmp_path: Path) -> None:
    """A file in the place of the folder is not overwritten, not even by force."""
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OperatorError, match="is a file"):
        render(tmp_path / "out", force=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_force_spares_frames_of_others(tmp_path: Path) -> None:
    """Force does not delete a folder of frames that no survey.json tells of."""
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "DJI_0001.JPG").write_text("a real flight")
    with pytest.raises(OperatorError, match=r"no survey\.json"):
        render(tmp_path, force=True)
    assert (tmp_path / "frames" / "DJI_0001.JPG").read_text() == "a real flight"


def test_force_replaces_the_survey_only(tmp_path: Path) -> None:
    """Force puts the new survey where the old one was and leaves what else is there."""
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    render(out, 5)
    (out / "notes.txt").write_text("mine")
    (out / "frames" / "stale.jpg").write_text("old")
    render(out, 6, force=True)
    render(fresh, 6)
    assert digests(out) == digests(fresh) | {"notes.txt": hashlib.sha256(b"mine").hexdigest()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "out"]


def test_an_empty_folder_stays_the_same_folder(tmp_path: Path) -> None:
    """A survey is put into an empty folder, not in its place: it may be mounted there."""
    out = tmp_path / "out"
    out.mkdir(mode=0o700)
    before = out.stat()
    render(out)
    assert (out.stat().st_ino, out.stat().st_mode) == (before.st_ino, before.st_mode)
    assert sorted(path.name for path in out.iterdir()) == [
        "frames",
        "orthomosaic.tif",
        "survey.json",
        "truth.csv",
    ]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    """When rendering stops half way, neither a survey nor leftovers stay behind."""

    class HaltError(Exception):
        pass

    def stop(share: float) -> None:
        if share > 0.7:
            raise HaltError

    with pytest.raises(HaltError):
        render_survey(SurveyOrder(5, 250), tmp_path / "out", force=False, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_command_prints_its_summary(tmp_path: Path) -> None:
    """`rehearse --json` prints one JSON document, the same as survey.json, and no progress bar."""
    out = tmp_path / "new" / "survey"
    ended = edge_agent("rehearse", str(out), "--seed", "5", "--tiles", "250", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == json.loads((out / "survey.json").read_text())
    assert ended.stderr == ""


def test_command_refuses_in_words(tmp_path: Path) -> None:
    """A folder in use and a seed kept for training end with their exit codes and no traceback."""
    (tmp_path / "kept.txt").write_text("mine")
    used = edge_agent("rehearse", str(tmp_path))
    assert used.returncode == ExitCode.CANNOT_RUN
    assert "not empty" in used.stderr
    assert "Traceback" not in used.stderr
    kept = edge_agent("rehearse", str(tmp_path / "x"), "--seed", str(SEEDS))
    assert kept.returncode == ExitCode.USAGE
    assert not (tmp_path / "x").exists()
