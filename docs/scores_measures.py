"""How good the shipped models' scores are, by the product's own evaluation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_agent.cli.evaluate import stranger_sources
from edge_agent.cli.filter_run import calibration_of
from edge_agent.cli.image_sets import Viewer
from edge_agent.evaluation.evaluating import Evaluated, Opinion, Stranger, evaluate_bundle
from edge_agent.evaluation.intervals import Estimate, estimates
from edge_agent.evaluation.listing import LabelUse, parse_source
from edge_agent.evaluation.looking import Seen
from edge_agent.evaluation.metrics import auroc, rank
from edge_agent.inference.bundle import Bundle, read_bundle
from edge_agent.scoring.calibration import Calibration
from edge_agent.scoring.fitting import fit_calibration, suggested_neighbours
from edge_agent.settings import EdgeSettings

Floats = npt.NDArray[np.float64]

NEAR: Final = ("airplane", "golfcourse", "harbor", "storagetanks")
BEACH: Final = "flight_brighton_beach/half"
FAR: Final = {
    "tree crowns": "crowns_neon",
    "beach flight": f"{BEACH}:frames",
    "potato field": "uav_potato_weed:frames",
}
PREVALENCE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Judge:
    """A bundle that can look at images, and its calibration."""

    bundle: Bundle
    calibration: Calibration
    viewer: Viewer

    def see(self, name: str, place: str, use: LabelUse, root: Path | None = None) -> Seen:
        """The tiles of a set."""
        return self.viewer.see(name, parse_source(place, root), use)


@dataclass(frozen=True, slots=True)
class Scenes:
    """models/scenes-aerial on its test part and on what it does not know."""

    judge: Judge
    found: Evaluated
    untrained: dict[str, Estimate]
    """Score -> AUROC near, by the same calibration tiles but without the training tiles."""

    @property
    def near(self) -> list[Opinion]:
        """The withheld classes."""
        return [one for one in self.found.strangers if one.seen.name in NEAR]

    @property
    def far(self) -> list[Opinion]:
        """The other imagery."""
        return [one for one in self.found.strangers if one.seen.name in FAR]


def judge_of(folder: Path) -> Judge:
    """The bundle in `folder`, with all settings at their defaults."""
    bundle = read_bundle(folder)
    calibration = calibration_of(bundle)
    if calibration is None:
        raise SystemExit(f"{folder} has no calibration")
    return Judge(bundle, calibration, Viewer(bundle, EdgeSettings(), frames=False))


def scenes(models: Path, data: Path) -> Scenes:
    """The test part against withheld classes (near) and against other imagery (far)."""
    judge = judge_of(models / "scenes-aerial")
    if not judge.calibration.trained:
        raise SystemExit("models/scenes-aerial was calibrated without training tiles")
    root = data / "scenes_ucmerced"
    split = models / "scenes-aerial" / "split.csv"
    known = judge.see("familiar", f"{split}:part=test", "match", root)
    near = [str(root / name) for name in NEAR]
    far = [f"{name}={data / place}" for name, place in FAR.items()]
    strangers = [
        Stranger(judge.viewer.see(name, source, "show"), kind)
        for name, source, kind in stranger_sources({"near": near, "far": far}, None)
    ]
    found = evaluate_bundle(judge.bundle.id, judge.calibration, known, strangers, PREVALENCE)
    return Scenes(judge, found, _untrained(judge.calibration, found))


def pooled(opinions: Sequence[Opinion], score: str, *, p: bool = False) -> Floats:
    """A score of all tiles of several sets, or its p-values; tiles without one left out."""
    parts = [(one.scored.p_values if p else one.scored.scores)[score] for one in opinions]
    values = np.concatenate(parts)
    return np.asarray(values[np.isfinite(values)])


def _untrained(calibration: Calibration, found: Evaluated) -> dict[str, Estimate]:
    familiar, options = calibration.familiar, calibration.options
    k = suggested_neighbours(familiar.labels, calibration.size)
    options = replace(options, scores=replace(options.scores, neighbours=k), fuse=None)
    again = fit_calibration(familiar, calibration.head, options=options)
    near = [one.seen for one in found.strangers if one.seen.name in NEAR]
    ours = again.judge(found.familiar.seen.outputs).scores
    theirs = [again.judge(seen.outputs).scores for seen in near]
    clusters = (found.familiar.seen.clusters, _apart([seen.clusters for seen in near]))
    return {
        name: estimates(
            rank(ours[name], np.concatenate([scores[name] for scores in theirs])),
            {"auroc": auroc},
            clusters,
        )["auroc"]
        for name in ours
    }


def _apart(parts: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Clusters of several sets, none in two of them."""
    shifts = np.cumsum([0, *(int(part.max()) + 1 for part in parts[:-1])])
    return np.concatenate([part + shift for part, shift in zip(parts, shifts, strict=True)])


def times(repository: Path) -> dict[str, float]:
    """Microseconds per tile of each score, by the benchmark."""
    script = repository / "benchmarks" / "scoring.py"
    done = subprocess.run([sys.executable, script], check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return dict(found["us_per_tile"])
