"""The demo's figures add up, and say what they claim."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from demo.figures import beyond_quantiles, foreign_ground, gather, table, truth_figures

TRUTH = """frame,row,column,class,novelty
a.jpg,0,0,soil,
a.jpg,0,128,orchid,
a.jpg,128,0,orchid,
a.jpg,128,128,orchid,boat
b.jpg,0,0,soil,herd
"""


def filtered(**reasons: int) -> dict[str, Any]:
    """A filter's report with these first reasons."""
    by_reason = {code.replace("__", ":"): count for code, count in reasons.items()}
    kept = sum(n for code, n in by_reason.items() if code.split(":")[0] in ("audit", "score"))
    return {
        "survey": "s", "frames_finished": 1, "frames_failed": [], "evicted": 0, "kept": kept,
        "tiles": sum(by_reason.values()), "by_reason": by_reason,
    }  # fmt: skip


def figures(**reasons: int) -> dict[str, Any]:
    """The walk's figures of such a report."""
    return gather(filtered(**reasons), {"sent_bytes": 1, "settled": {}}, [], 100, {})


def reasons_shown(report: dict[str, Any]) -> int:
    """All tiles that the report gives a reason for."""
    groups = ("kept_by_reason", "skipped_by_reason", "other_by_reason")
    return sum(count for group in groups for count in report[group].values())


def test_the_reasons_of_a_real_walk_add_up(walked: tuple[Path, dict[str, Any]]) -> None:
    """Kept and skipped by reason are all the tiles seen; the truth counts every tile once."""
    _, report = walked
    assert reasons_shown(report) == report["tiles_seen"] >= 200
    assert sum(report["kept_by_reason"].values()) == report["tiles_kept"]
    truth = report["truth"]
    assert truth["novel_tiles"] + truth["familiar_tiles"] == report["tiles_seen"]
    stored = truth["novel_tiles_kept"] + truth["familiar_tiles_kept"]
    assert stored == report["samples_in_store"] > 0


def test_the_rare_class_of_a_real_walk_is_counted(walked: tuple[Path, dict[str, Any]]) -> None:
    """As many tiles of the rare class as the truth has without a novel thing."""
    out, report = walked
    rare = json.loads((out / "survey/survey.json").read_text())["rare_class"]
    with (out / "survey/truth.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == rare]
    assert report["truth"]["rare_tiles"] == sum(not row["novelty"] for row in rows) > 0


def test_truth_is_counted_by_novelty_and_rare_class(tmp_path: Path) -> None:
    """Of five tiles: two novel, three familiar, two of these orchids; one of each is kept."""
    (tmp_path / "truth.csv").write_text(TRUTH)
    (tmp_path / "survey.json").write_text('{"rare_class": "orchid"}')
    kept = [
        {"frame": "a.jpg", "row": 128, "column": 0}, {"frame": "a.jpg", "row": 128, "column": 128}
    ]  # fmt: skip
    assert truth_figures(tmp_path, kept) == {
        "rare_class": "orchid",
        "novel_tiles": 2, "novel_tiles_kept": 1,
        "rare_tiles": 2, "rare_tiles_kept": 1,
        "familiar_tiles": 3, "familiar_tiles_kept": 1,
    }  # fmt: skip


def test_a_reason_of_a_new_kind_is_shown() -> None:
    """A reason that the walk does not know stands in the table under its own name."""
    report = figures(audit=1, familiar=5, brandnew__thing=3)
    assert reasons_shown(report) == 9
    console = Console(width=100)
    with console.capture() as shown:
        console.print(table(report))
    assert "brandnew:thing" in shown.get()


def test_the_share_beyond_the_quantiles_is_of_tiles_judged_by_score() -> None:
    """30 of 40: audit, duplicates and empty tiles say nothing; one score at 2 % promises 2 %."""
    reasons = {"score:entropy": 20, "score:max_logit": 10, "familiar": 10, "audit": 9}
    reasons |= {"duplicate:content": 7, "invalid:nodata": 5}
    assert beyond_quantiles(reasons) == {"share": 0.75, "at_most_on_familiar_ground": 0.02}


def test_foreign_ground_is_told_of_and_familiar_ground_is_not() -> None:
    """More than a quarter kept by score earns one sentence with both shares and the cap."""
    told = foreign_ground(figures(score__entropy=60, familiar=40))
    assert "60%" in told
    assert "2%" in told
    assert "records.survey_max_bytes" in told
    assert foreign_ground(figures(score__entropy=20, familiar=80)) == ""
    assert foreign_ground(figures(audit=60, familiar=40)) == ""
