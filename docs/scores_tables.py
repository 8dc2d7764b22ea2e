"""What was measured, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scores_measures import FAR, NEAR, Scenes
from scores_surveys import Surprise, Survey

from edge_agent.evaluation.comparison import GroupFigures
from edge_agent.evaluation.intervals import Estimate, Share
from edge_agent.scoring.calibration import OOD
from edge_agent.scoring.conformal import upper_share
from edge_agent.scoring.drift import LEVEL
from edge_agent.scoring.fusion import fuse
from edge_agent.scoring.logits import LOGIT_SCORES
from edge_agent.scoring.references import SCORE_NAMES

SIZES = (20, 50, 99, 100, 120, 200, 500, 2000)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first are numbers."""
    lines = [f"| {' | '.join(headings)} |", f"|---|{'---:|' * (len(headings) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def scores(measured: Scenes) -> str:
    """Every score against the near and the far sets, and on familiar tiles."""
    evaluation = measured.found.evaluation
    near, far = (_group(measured, name) for name in ("all near", "all far"))
    ours = evaluation.familiar
    rows = []
    for name in (*SCORE_NAMES, OOD):
        if name not in near.scores:
            continue
        figures = [group.scores[name].figures for group in (near, far)]
        rows.append(
            [
                _score(name, evaluation.fused),
                _ranged(figures[0]["auroc"]),
                _plain(figures[0]["fpr95"]),
                _ranged(figures[1]["auroc"]),
                _plain(figures[1]["fpr95"]),
                _share(ours.false_harvest[name]["0.05"]),
                _ranged(ours.misclassification[name]),
            ]
        )
    headings = ("score", "near AUROC", "near FPR95", "far AUROC", "far FPR95",
                "familiar p ≤ 0.05", "wrong names AUROC")  # fmt: skip
    accuracy = ours.accuracy
    told = (
        f"{ours.tiles} familiar test tiles, {near.tiles} near and {far.tiles} far tiles, "
        f"{evaluation.calibration_tiles} calibration tiles."
    )
    if accuracy is not None:
        told += f" Accuracy {_share(accuracy)}."
    left = ", ".join(f"`{name}`" for name in SCORE_NAMES if name not in near.scores)
    return f"{told} No row for {left}: this bundle is no ensemble.\n\n{table(headings, rows)}"


def findings(measured: Scenes) -> str:
    """What the table of scores says, in words."""
    evaluation = measured.found.evaluation
    lines = []
    for name in ("all near", "all far"):
        group = _group(measured, name)
        value = {score: _auroc(group, score) for score in group.scores}
        single = {score: value[score] for score in value if score != OOD}
        best, worst = max(single, key=single.__getitem__), min(single, key=single.__getitem__)
        logit = [single[score] for score in LOGIT_SCORES]
        lines.append(
            f"- {name.removeprefix('all ').capitalize()}: best single score `{best}` "
            f"{single[best]:.3f}, worst `{worst}` {single[worst]:.3f}, `ood` {value[OOD]:.3f}. "
            f"The six logit scores lie within {max(logit) - min(logit):.3f} of each other."
        )
    wrong = {
        name: found.value or 0.0 for name, found in evaluation.familiar.misclassification.items()
    }
    best, worst = max(wrong, key=wrong.__getitem__), min(wrong, key=wrong.__getitem__)
    lines.append(
        f"- Wrong names are found best by `{best}` ({wrong[best]:.3f}), worst by `{worst}` "
        f"({wrong[worst]:.3f})."
    )
    members = ", ".join(f"`{name}`" for name in evaluation.fused)
    return "\n".join([*lines, f"- `ood` fuses {members}."])


def sets(measured: Scenes) -> str:
    """Each set by `ood` and by its best single score."""
    rows = []
    for name in (*NEAR, *FAR):
        group = _group(measured, name)
        best = max(
            (score for score in group.scores if score != OOD), key=lambda one: _auroc(group, one)
        )
        fused = group.scores[OOD]
        rows.append(
            [
                f"{name} ({group.kind})",
                str(group.tiles),
                _ranged(fused.figures["auroc"]),
                _plain(fused.figures["fpr95"]),
                _share(fused.found["0.02"]),
                f"`{best}` {_plain(group.scores[best].figures['auroc'])}",
            ]
        )
    headings = ("set", "tiles", "`ood` AUROC", "FPR95", "kept at 0.98", "best single, AUROC")
    return table(headings, rows)


def training(measured: Scenes) -> str:
    """With and without training tiles."""
    near = _group(measured, "all near")
    rows = [
        [
            _score(name),
            _ranged(near.scores[name].figures["auroc"]),
            _ranged(measured.untrained[name]),
        ]
        for name in (*SCORE_NAMES, OOD)
        if name in near.scores and name not in LOGIT_SCORES
    ]
    return table(("score", "with training tiles", "without"), rows)


def sizes() -> str:
    """What n calibration tiles can promise."""
    rows = []
    for count in SIZES:
        own = np.arange(1, count + 1) / (count + 1.0)
        fused = fuse(("score",), {"score": own}).table
        ranks = int(np.count_nonzero(fused <= LEVEL + 1e-12))
        harvested = "nothing" if not ranks else f"{upper_share(count, ranks - 1):.3f}"
        least = float(fused[0])
        rows.append([str(count), f"{least:.4f}", f"{int((1 - least) * 1e4) / 1e4:.4f}", harvested])
    headings = ("calibration tiles", "smallest `ood`", "highest `thresholds.ood`",
                "familiar p ≤ 0.05, 9 of 10")  # fmt: skip
    return table(headings, rows)


def crowns(metrics: Path) -> str:
    """The crown model's figures on sites that it never saw."""
    found: Mapping[str, Any] = json.loads(metrics.read_text(encoding="utf-8"))["crowns"]
    wrong, alarms, far = found["misclassification"], found["p_at_most_5_percent"], found["far"]
    rows = [
        [
            _score(name, found["fused"]),
            _written(wrong["test"]["scores"][name]),
            f"{alarms['test_seen'][name]['share']:.3f}",
            f"{alarms['test'][name]['share']:.3f}",
            *(_written(one["scores"][name]) for one in far.values()),
        ]
        for name in wrong["test"]["scores"]
    ]
    headings = ("score", "wrong names AUROC, unseen sites", "p ≤ 0.05, known sites",
                "p ≤ 0.05, unseen sites", *(f"{name}, AUROC" for name in far))  # fmt: skip
    return table(headings, rows)


def surveys(found: Sequence[Survey]) -> str:
    """What the drift test made of whole surveys."""
    rows = []
    for one in found:
        alarm = "none" if one.alarm is None else f"at tile {one.alarm.tiles}"
        rows.append(
            [
                f"{one.name} (`{one.bundle}`)",
                str(one.tiles),
                f"{one.strange / one.tiles:.3f}",
                f"{one.familiar_share:.3f}",
                alarm,
                str(one.kept_unasked),
                str(one.kept),
            ]
        )
    headings = ("survey", "tiles", "strange tiles", "granted to familiar ground", "alarm",
                "kept without the test", "kept")  # fmt: skip
    return table(headings, rows)


def surprising(found: Sequence[Surprise], share: float) -> str:
    """How many of the strangest tiles show something planted."""
    planted = sum(one.novelty != "" for one in found)
    return (
        f"{planted} of the {len(found)} strangest tiles show an object that was planted; of all "
        f"tiles a share of {share:.3f} does."
    )


def times(found: Mapping[str, float]) -> str:
    """Microseconds per tile."""
    named = {
        "all_logit_scores": "all six logit scores",
        "all_feature_scores": "all five of features",
    }
    rows = [[_score(name), f"{found[name]:.1f}"] for name in SCORE_NAMES]
    rows += [[told, f"{found[name]:.1f}"] for name, told in named.items()]
    return table(("score", "µs per tile"), rows)


def _group(measured: Scenes, name: str) -> GroupFigures:
    return next(group for group in measured.found.evaluation.groups if group.name == name)


def _auroc(group: GroupFigures, score: str) -> float:
    return group.scores[score].figures["auroc"].value or 0.0


def _score(name: str, fused: Sequence[str] = ()) -> str:
    if name == OOD:
        return f"**`{name}`**"
    return f"`{name}` ●" if name in fused else f"`{name}`"


def _ranged(found: Estimate) -> str:
    ends = "" if found.low is None or found.high is None else f" ({found.low:.2f}–{found.high:.2f})"
    return _plain(found) + ends


def _plain(found: Estimate) -> str:
    return "–" if found.value is None else f"{found.value:.3f}"


def _share(found: Share) -> str:
    if found.value is None:
        return "–"
    return f"{found.value:.3f} ({found.low:.2f}–{found.high:.2f})"


def _written(found: Mapping[str, Any]) -> str:
    low, high = found["interval_95"]
    return f"{found['auroc']:.3f} ({low:.2f}–{high:.2f})"
