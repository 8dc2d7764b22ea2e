"""Surveys rendered for the rehearsal bundle: their tiles, its calibration, how it does on them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from training import bundle_writer as writer
from training.dataset import Pixels
from training.evaluation import InputSpec, predict, read_calibration

from edge_agent.domain import Outputs
from edge_agent.rehearsal.covers import LABELS, TILE_PX
from edge_agent.rehearsal.survey import SEEDS, TRUTH, SurveyOrder, render_survey
from edge_agent.rehearsal.truth_file import read_truth
from edge_agent.scoring.calibration import Familiar
from edge_agent.scoring.fitting import recalibrate
from edge_agent.scoring.stand_ins import auroc

# `edge-agent rehearse` takes no seed from SEEDS up: what is shown there was never trained on.
CALIBRATION_SEED = SEEDS + 900_000
TEST_SEED = SEEDS + 950_000
CALIBRATION_SURVEYS, TEST_SURVEYS = 5, 3
MOST_NODATA = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """One tile of a survey."""

    name: str
    pixels: Pixels
    label: int
    novelty: str
    repeated: bool


def survey_tiles(order: SurveyOrder, keep: float, rng: np.random.Generator) -> Iterator[Seen]:
    """Tiles of a survey rendered, read back as an agent reads it; a share `keep`, at random.

    Left out: tiles that are mostly nodata, and those that something novel only touches, for they
    are neither familiar nor marked as novel.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "survey"
        render_survey(order, root, force=False, progress=lambda share: None)
        views: set[str] = set()
        image, opened = np.zeros(0, dtype=np.uint8), ""
        for row in read_truth(root / TRUTH):
            repeated = row["group"] in views
            views.add(row["group"])
            touched = float(row["novelty_share"]) > 0 and not row["novelty"]
            drawn = rng.random() < keep
            if touched or not drawn or float(row["nodata_share"]) > MOST_NODATA:
                continue
            if row["frame"] != opened:
                opened = row["frame"]
                image = np.asarray(Image.open(root / opened).convert("RGB"))
            top, left = int(row["row"]), int(row["column"])
            pixels = image[top : top + TILE_PX, left : left + TILE_PX].copy()
            name = f"{order.seed}/{opened}/{top}/{left}"
            label = LABELS.index(row["class"]) if row["class"] else -1
            yield Seen(name, pixels, label, row["novelty"], repeated)


def calibrate_on_surveys(out: Path, given: InputSpec) -> dict[str, Any]:
    """Write calibration.npz from whole surveys in their natural proportions."""
    rng = np.random.default_rng(CALIBRATION_SEED)
    tiles = [
        tile
        for number in range(CALIBRATION_SURVEYS)
        for tile in survey_tiles(
            SurveyOrder(CALIBRATION_SEED + number, 1500, novel_share=0.0), 0.35, rng
        )
        if not tile.repeated
    ]
    logits, features = predict(out / "model.onnx", np.stack([t.pixels for t in tiles]), given)
    labels = np.array([tile.label for tile in tiles], dtype=np.int64)
    groups = np.array([int(tile.name.split("/")[0]) for tile in tiles], dtype=np.int64)
    familiar = Familiar(Outputs(logits, features), labels, groups)
    writer.store_calibration(out, recalibrate(read_calibration(out), familiar))
    return {"surveys": CALIBRATION_SURVEYS, "tiles": len(tiles)}


def measure_on_surveys(out: Path, given: InputSpec) -> dict[str, Any]:
    """Accuracy, AUROC and p-values on fresh surveys with novel things in them."""
    rng = np.random.default_rng(TEST_SEED)
    tiles = [
        tile
        for number in range(TEST_SURVEYS)
        for tile in survey_tiles(SurveyOrder(TEST_SEED + number, 2000, novel_share=0.04), 1.0, rng)
        if not tile.repeated
    ]
    logits, features = predict(out / "model.onnx", np.stack([tile.pixels for tile in tiles]), given)
    novel = np.array([tile.novelty != "" for tile in tiles])
    kinds = np.array([tile.novelty for tile in tiles])
    labels = np.array([tile.label for tile in tiles])
    hits = (logits.argmax(axis=1) == labels)[~novel]
    judged, scores = read_calibration(out).judge(Outputs(logits, features)), {}
    for name, values in judged.scores.items():
        p_values = judged.p_values[name]
        scores[name] = {
            "auroc": round(auroc(values[~novel], values[novel]), 4),
            "median_p_familiar": round(float(np.median(p_values[~novel])), 4),
            "median_p_novel": round(float(np.median(p_values[novel])), 4),
            "p_at_most_5_percent_familiar": round(float((p_values[~novel] <= 0.05).mean()), 4),
            "p_at_most_5_percent_novel": round(float((p_values[novel] <= 0.05).mean()), 4),
            "auroc_by_kind": _by_kind(values, novel, kinds),
        }
    return {
        "surveys": TEST_SURVEYS,
        "familiar": int((~novel).sum()),
        "novel": int(novel.sum()),
        "accuracy": round(float(hits.mean()), 4),
        "scores": scores,
    }


def _by_kind(
    values: NDArray[np.float64], novel: NDArray[np.bool_], kinds: NDArray[np.str_]
) -> dict[str, float]:
    found = sorted(set(kinds[novel].tolist()))
    return {kind: round(auroc(values[~novel], values[kinds == kind]), 4) for kind in found}


def survey_section(figures: dict[str, Any]) -> str:
    """What the card says of whole surveys."""
    calibration, test = figures["calibration"], figures["test"]
    names = list(test["scores"])
    shares = [100 * test["scores"][name]["p_at_most_5_percent_familiar"] for name in names]
    low, high = min(shares), max(shares)
    lines = [
        "",
        "## On whole surveys",
        "",
        (
            "The accuracy above is of tiles drawn evenly by class. Survey tiles come as the land "
            f"lies: **{100 * test['accuracy']:.1f} %** of {test['familiar']} familiar tiles of "
            f"{test['surveys']} fresh surveys were named right. {test['novel']} tiles there show a "
            "thing that no training tile showed, on a fifth of the tile or more; tiles that such a "
            "thing only touches are left out of both."
        ),
        "",
        (
            f"`calibration.npz` was made from {calibration['tiles']} familiar tiles of "
            f"{calibration['surveys']} further surveys, in their natural proportions: it replaces "
            "the one of the calibration part, which knows no natural proportions. Of the fresh "
            f"surveys' familiar tiles {low:.1f} to {high:.1f} %, by the score, have p <= 0.05: "
            "tiles of one survey are more like each other than those of another, so that p-values "
            "made on some surveys hold only roughly on a new one."
        ),
        "",
        f"| novel against familiar | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
    ]
    rows = (
        ("AUROC", "auroc"),
        ("median p-value, familiar", "median_p_familiar"),
        ("median p-value, novel", "median_p_novel"),
        ("share with p <= 0.05, familiar", "p_at_most_5_percent_familiar"),
        ("share with p <= 0.05, novel", "p_at_most_5_percent_novel"),
    )
    for title, key in rows:
        cells = " | ".join(f"{test['scores'][name][key]:.3f}" for name in names)
        lines.append(f"| {title} | {cells} |")
    for kind in test["scores"][names[0]]["auroc_by_kind"]:
        cells = " | ".join(f"{test['scores'][n]['auroc_by_kind'][kind]:.3f}" for n in names)
        lines.append(f"| AUROC, {kind} | {cells} |")
    return "\n".join(lines) + "\n"
