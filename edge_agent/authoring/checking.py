"""`bundle check`: everything that is wrong with a bundle, at once. Needs no onnx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.authoring.order import NOT_STATED
from edge_agent.authoring.outlook import Outlook, outlook
from edge_agent.authoring.probes import random_tiles
from edge_agent.authoring.running import Floats, head_allowance
from edge_agent.domain import Outputs
from edge_agent.evaluation.calibration_notes import threshold_note
from edge_agent.inference.bundle import (
    BUNDLE_FILE,
    CALIBRATION_FILE,
    Bundle,
    BundleDescription,
    BundleError,
    model_digest,
    read_bundle,
)
from edge_agent.inference.calibration_file import read_calibration
from edge_agent.inference.head_file import HEAD_FILE, HeadArrays, read_head
from edge_agent.inference.session import InferenceError, InferenceSettings, Session
from edge_agent.scoring.calibration import Calibration, CalibrationError
from edge_agent.scoring.calibration_arrays import read_arrays
from operations import settings_file
from operations.errors import OperatorError, Problem

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Examined:
    """A bundle as far as it could be read and run."""

    folder: Path
    description: BundleDescription | None
    outputs: Outputs | None
    """Of some random tiles."""
    head: HeadArrays | None
    """From head.npz, or else from the calibration."""
    calibration: Calibration | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """What is no fault but should be known."""

    @property
    def outlook(self) -> Outlook:
        """Scores, and what those lack that it cannot give; empty where the model does not run."""
        if self.outputs is None:
            return {}
        return outlook(self.outputs, self.head, self.calibration)


def examine(folder: Path) -> Examined:
    """Read all of a bundle, run its model, and see whether its parts fit together."""
    try:
        description = settings_file.load(folder / BUNDLE_FILE, BundleDescription)
    except OperatorError as error:
        found = error.problems or (Problem(error.summary),)
        told = [Problem(f"{BUNDLE_FILE}: {each.message}", each.hint) for each in found]
        return Examined(folder, None, None, None, None, tuple(told), ())
    problems: list[Problem] = []
    try:
        read_bundle(folder)
    except BundleError as error:
        problems += error.problems
    classes = len(description.labels)
    outputs = _try_out(folder, description, problems)
    head, calibration = None, None
    if description.networks:
        digest = model_digest(description).hex()
        head, found_wrong = read_head(folder / HEAD_FILE, classes=classes, model_sha256=digest)
        problems += found_wrong
        arrays, _ = read_calibration(folder / CALIBRATION_FILE, model_sha256=digest)
        calibration = None if arrays is None else _calibration(arrays, classes, problems)
    if outputs is not None:
        problems += _fit_problems(outputs, head, calibration)
    kept = _head_of(calibration) if head is None and calibration is not None else head
    notes = _notes(description, outputs, kept, calibration)
    return Examined(folder, description, outputs, kept, calibration, tuple(problems), tuple(notes))


def _try_out(
    folder: Path, description: BundleDescription, problems: list[Problem]
) -> Outputs | None:
    """The model's outputs for some tiles; what hinders that is added to the problems."""
    bundle = Bundle(folder, description, None)
    plain = all(Path(network.file).name == network.file for network in description.networks)
    if not description.networks or not plain or not all(p.is_file() for p in bundle.model_paths):
        return None
    try:
        # A scale of 0 is among the problems already.
        with np.errstate(divide="ignore", invalid="ignore"):
            session = Session(bundle, InferenceSettings())
            height, width = description.input.size
            return session.run(session.prepare(random_tiles((height, width))))
    except (BundleError, InferenceError) as error:
        problems += error.problems
    return None


def _calibration(arrays: Arrays, classes: int, problems: list[Problem]) -> Calibration | None:
    try:
        return read_arrays(arrays, classes=classes)
    except CalibrationError as error:
        hint = "calibrate again: edge-agent calibrate"
        problems += [Problem(f"{CALIBRATION_FILE}: {text}", hint) for text in error.problems]
    return None


def _head_of(calibration: Calibration) -> HeadArrays | None:
    head = calibration.head
    if head is None:
        return None
    return HeadArrays(head.weight.astype(np.float32), head.bias.astype(np.float32))


def _fit_problems(
    outputs: Outputs, head: HeadArrays | None, calibration: Calibration | None
) -> list[Problem]:
    """Do the layer and the calibration belong to what the model says?"""
    problems = []
    heads = {HEAD_FILE: head}
    if calibration is not None:
        heads[CALIBRATION_FILE] = _head_of(calibration)
        width = _width(calibration.familiar.outputs.features)
        if width is not None and width != _width(outputs.features):
            problems.append(
                Problem(
                    f"{CALIBRATION_FILE} holds embeddings of {width} values, the model gives "
                    f"{_width(outputs.features) or 'none'}",
                    "calibrate again: edge-agent calibrate",
                )
            )
    for name, layer in heads.items():
        if layer is not None and (text := _layer_mismatch(outputs, layer)):
            problems.append(Problem(f"{name}: {text}", "it is of another model: make it again"))
    return problems


def _layer_mismatch(outputs: Outputs, head: HeadArrays) -> str:
    if outputs.features is None:
        return "the last layer's weights are of no use, bundle.toml names no embedding"
    features: Floats = np.asarray(outputs.features, dtype=np.float64)
    weight: Floats = head.weight.astype(np.float64)
    bias: Floats = head.bias.astype(np.float64)
    if weight.shape != (outputs.logits.shape[1], features.shape[1]):
        return (
            f"head_weight is {weight.shape}, logits and embedding of the model have "
            f"{outputs.logits.shape[1]} and {features.shape[1]} values"
        )
    apart = np.abs(outputs.logits - (features @ weight.T + bias))
    if (apart > head_allowance(features, weight, bias, half=True)).any():
        return f"the model's logits are not embedding @ weight.T + bias (off by {apart.max():.2g})"
    return ""


def _width(features: npt.NDArray[Any] | None) -> int | None:
    return None if features is None else int(features.shape[1])


def _notes(
    description: BundleDescription,
    outputs: Outputs | None,
    head: HeadArrays | None,
    calibration: Calibration | None,
) -> list[str]:
    notes = [] if calibration is None else list(calibration.warnings)
    if calibration is not None and (told := threshold_note(calibration)) is not None:
        notes.append(told)
    if calibration is None:
        notes.append("not calibrated: scores have no p-values; see edge-agent calibrate")
    if outputs is not None and outputs.features is None:
        notes.append("the model gives no embedding: scores are of logits alone")
    elif outputs is not None and head is None:
        notes.append("the weights of the last layer are unknown: no vim, no fdbd")
    provenance = description.provenance
    for key, value in (("training_data", provenance.training_data), ("licence",
                       provenance.licence)):  # fmt: skip
        if not value.strip() or value == NOT_STATED:
            notes.append(f"provenance.{key} is not stated")
    return notes
