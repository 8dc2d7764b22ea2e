"""What the crown model does on sites that it knows, on sites that it does not, and far away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from crown_images import Crowns
from numpy.typing import NDArray
from PIL import Image
from training.dataset import Pixels, list_images, read_images
from training.evaluation import InputSpec, predict
from training.figures import accuracy_figures, wilson_interval
from training.splitting import Split

from edge_agent.domain import Outputs
from edge_agent.scoring.calibration import Calibration, Scored
from edge_agent.scoring.stand_ins import auroc

ALARM = 0.05
SHOWN = ("msp", "entropy", "energy", "fdbd", "mahalanobis_pp", "rmds_pp", "knn", "vim", "ood")
_DRAWS = 1000
_GRID = 4  # crops along each side of a large photo

Statistic = Callable[[NDArray[np.int64]], float]


def interval_over(groups: NDArray[Any], statistic: Statistic, seed: int = 0) -> list[float]:
    """95 % percentile bootstrap interval, whole groups drawn with replacement.

    Tiles of one site resemble each other: single tiles drawn would promise too narrow an interval.
    statistic: (rows) -> value; draws for which it is not a number are left out.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    values = []
    for _ in range(_DRAWS):
        drawn = generator.integers(0, len(members), len(members))
        values.append(statistic(np.concatenate([members[number] for number in drawn])))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


@dataclass(frozen=True, slots=True)
class Judged:
    """Tiles of one part: what the model says, whether it is right, scores and p-values."""

    logits: NDArray[np.float32]
    wrong: NDArray[np.bool_]
    scored: Scored
    groups: NDArray[Any]


def judge(
    model: Path,
    given: InputSpec,
    calibration: Calibration,
    images: Pixels,
    labels: NDArray[np.int64] | None,
    groups: NDArray[Any],
) -> Judged:
    """Run the model and judge its outputs by the calibration."""
    logits, features = predict(model, images, given)
    scored = calibration.judge(Outputs(logits, features))
    wrong = np.zeros(len(logits), dtype=bool) if labels is None else logits.argmax(1) != labels
    return Judged(logits, wrong, scored, groups)


def _names(scored: Scored) -> list[str]:
    return [name for name in SHOWN if name in scored.scores]


def _wrong_against_right(judged: Judged) -> dict[str, Any]:
    """AUROC of each score, wrongly named tiles against rightly named ones."""

    def of(score: NDArray[np.float64]) -> Statistic:
        def statistic(rows: NDArray[np.int64]) -> float:
            wrong, values = judged.wrong[rows], score[rows]
            if wrong.all() or not wrong.any():
                return float("nan")
            return auroc(values[~wrong], values[wrong])

        return statistic

    every, found = np.arange(len(judged.wrong)), {}
    for name in _names(judged.scored):
        statistic = of(judged.scored.scores[name])
        found[name] = {
            "auroc": round(statistic(every), 4),
            "interval_95": interval_over(judged.groups, statistic),
        }
    return {"wrong": int(judged.wrong.sum()), "tiles": len(every), "scores": found}


def _alarms(judged: Judged) -> dict[str, Any]:
    """Share of tiles with p <= 0.05, by score."""
    return {
        name: _share_figures(judged.scored.p_values[name] <= ALARM, judged.groups)
        for name in _names(judged.scored)
    }


def _share_figures(hits: NDArray[np.bool_], groups: NDArray[Any]) -> dict[str, Any]:
    """A share, its interval the wider of whole groups drawn anew and of Wilson's."""
    low, high = interval_over(groups, lambda rows: float(hits[rows].mean()))
    wilson = wilson_interval(int(hits.sum()), len(hits))
    return {
        "tiles": len(hits),
        "hits": int(hits.sum()),
        "share": round(float(hits.mean()), 4),
        "interval_95": [round(min(low, wilson[0]), 4), round(max(high, wilson[1]), 4)],
    }


def _against_familiar(familiar: Judged, far: Judged) -> dict[str, Any]:
    """AUROC of each score, far tiles against the familiar part, and the share of alarms."""
    flags = np.repeat([False, True], [len(familiar.wrong), len(far.wrong)])
    groups = np.array(
        [f"familiar {group}" for group in familiar.groups]
        + [f"far {group}" for group in far.groups]
    )
    found: dict[str, Any] = {"tiles": len(far.wrong), "scores": {}}
    alarms = _alarms(far)
    for name in _names(far.scored):
        values = np.concatenate([familiar.scored.scores[name], far.scored.scores[name]])

        def statistic(rows: NDArray[np.int64], values: NDArray[np.float64] = values) -> float:
            familiar_rows, far_rows = rows[~flags[rows]], rows[flags[rows]]
            if not len(familiar_rows) or not len(far_rows):
                return float("nan")
            return auroc(values[familiar_rows], values[far_rows])

        found["scores"][name] = {
            "auroc": round(statistic(np.arange(len(values))), 4),
            "interval_95": interval_over(groups, statistic),
            "p_at_most_5_percent": alarms[name],
        }
    return found


def crown_figures(
    crowns: Crowns,
    split: Split,
    model: Path,
    given: InputSpec,
    calibration: Calibration,
    far: Mapping[str, tuple[Pixels, NDArray[Any]]],
) -> dict[str, Any]:
    """All that metrics.json adds for the crowns.

    far: name -> images (N, S, S, 3) and the source image of each, for the domain-shift alarm.
    """
    tiles = crowns.tiles
    parts = {}
    for name, groups in (("test_seen", crowns.plots), ("test", crowns.sites)):
        rows = split.parts()[name]
        parts[name] = judge(
            model, given, calibration, tiles.images[rows], tiles.labels[rows], groups[rows]
        )
    strangers = {
        name: _against_familiar(
            parts["test_seen"], judge(model, given, calibration, images, None, sources)
        )
        for name, (images, sources) in far.items()
    }
    seen_labels, right = tiles.labels[split.aside["test_seen"]], ~parts["test"].wrong
    return {
        "labels": _label_figures(crowns),
        "sites": {part: _counts(crowns.sites[rows]) for part, rows in split.parts().items()},
        "test_by_site": _by_place(right, parts["test"].groups),
        "test_by_source": _by_place(right, _sources(crowns, split.test)),
        "test_interval_over_sites": _share_figures(right, parts["test"].groups)["interval_95"],
        "test_seen": accuracy_figures(parts["test_seen"].logits, seen_labels, tiles.label_names),
        "misclassification": {name: _wrong_against_right(part) for name, part in parts.items()},
        "p_at_most_5_percent": {name: _alarms(part) for name, part in parts.items()},
        "far": strangers,
        "fused": list(calibration.fusion.members),
    }


def _sources(crowns: Crowns, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """Which kind of name an image has, and its label."""
    tiles = crowns.tiles
    return np.array(
        [
            f"{'square kilometre' if crowns.plots[row][0].isdigit() else 'plot'}, "
            f"{tiles.label_names[tiles.labels[row]]}"
            for row in rows
        ]
    )


def _label_figures(crowns: Crowns) -> dict[str, int]:
    return {
        "conflicts": len(crowns.conflicts),
        "left_out": len({name for c in crowns.conflicts for name in (c.alive, c.dead)}),
        "repeats": len(crowns.repeats),
        "overlapping_neighbours": crowns.neighbours,
    }


def _counts(sites: NDArray[np.str_]) -> dict[str, int]:
    found, counts = np.unique(sites, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _by_place(right: NDArray[np.bool_], places: NDArray[Any]) -> dict[str, dict[str, int]]:
    return {
        place: {"tiles": tiles, "right": int(right[places == place].sum())}
        for place, tiles in _counts(places).items()
    }


def far_imagery(shared: Path, side: int) -> dict[str, tuple[Pixels, NDArray[Any]]]:
    """Crops of `side` px at native resolution from imagery without crowns at 0.1 m."""
    scenes = shared / "scenes_ucmerced"
    chosen = []
    for kind in sorted(path.name for path in scenes.iterdir() if path.is_dir()):
        chosen += list_images(scenes, [kind])[:10]
    middle = (256 - side) // 2
    images = read_images(scenes, chosen, 256)[:, middle : middle + side, middle : middle + side]
    return {
        "potato field (UAV)": _grid(shared / "uav_potato_weed", "*.jpg", side),
        "beach (drone)": _grid(shared / "flight_brighton_beach" / "half", "*.JPG", side),
        "scenes of towns and land (0.3 m)": (images, np.array(chosen)),
    }


def _grid(folder: Path, pattern: str, side: int) -> tuple[Pixels, NDArray[Any]]:
    """4 x 4 crops spread over each photo, and the photo's name for each."""
    crops, sources = [], []
    for path in sorted(folder.glob(pattern)):
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"), dtype=np.uint8)
        for top in np.linspace(0, pixels.shape[0] - side, _GRID).astype(int):
            for left in np.linspace(0, pixels.shape[1] - side, _GRID).astype(int):
                crops.append(pixels[top : top + side, left : left + side])
                sources.append(path.name)
    return np.stack(crops), np.array(sources)
