"""`bundle show`: a bundle at a glance."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_agent.authoring.checking import Examined
from edge_agent.inference.bundle import CALIBRATION_FILE, BundleDescription, model_digest
from edge_agent.inference.head_file import HEAD_FILE
from edge_agent.scoring.calibration import OOD, Calibration


def facts(examined: Examined, description: BundleDescription) -> dict[str, Any]:
    """What there is to know, as plain values for JSON."""
    folder, outputs = examined.folder, examined.outputs
    name = f"{description.name}@{description.version}"
    return {
        "id": name if examined.calibration is not None else f"{name}+uncalibrated",
        "name": description.name,
        "version": description.version,
        "task": description.task,
        "labels": list(description.labels),
        "model_sha256": model_digest(description).hex(),
        "members": [
            {"file": network.file, "sha256": network.sha256,
             "bytes": (folder / network.file).stat().st_size}
            for network in description.networks
        ],
        "input": msgspec.to_builtins(description.input),
        "output": {
            "logits": description.output.logits,
            "classes": len(description.labels),
            "embedding": description.output.embedding,
            "embedding_values": None
            if outputs is None or outputs.features is None
            else int(outputs.features.shape[1]),
        },
        "head": None
        if examined.head is None
        else (HEAD_FILE if (folder / HEAD_FILE).exists() else CALIBRATION_FILE),
        "calibration": _calibration(examined.calibration, folder / CALIBRATION_FILE),
        "scores": [score for score, lack in examined.outlook.items() if lack is None],
        "lacking": {score: lack for score, lack in examined.outlook.items() if lack is not None},
        "notes": list(examined.notes),
        "provenance": msgspec.to_builtins(description.provenance),
    }  # fmt: skip


def _calibration(calibration: Calibration | None, file: Any) -> dict[str, Any] | None:
    if calibration is None:
        return None
    return {
        "bytes": file.stat().st_size,
        "tiles": calibration.size,
        "labelled": calibration.familiar.labels is not None,
        "scores": list(calibration.score_names),
        "fused": list(calibration.fusion.members),
        "temperature": calibration.temperature,
        "smallest_p": calibration.smallest_p(OOD),
    }
