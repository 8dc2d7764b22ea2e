"""The folder of a bundle made of one exported model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edge_agent.authoring.describing import bundle_toml
from edge_agent.authoring.ending import Linear
from edge_agent.authoring.order import BundleOrder
from edge_agent.authoring.placing import CARD_FILE, put_whole, write_file
from edge_agent.authoring.surgery import Rebuilt
from edge_agent.inference.bundle import (
    BUNDLE_FILE,
    BundleDescription,
    InputSpec,
    ModelFile,
    OutputSpec,
    Provenance,
    read_bundle,
)
from edge_agent.inference.head_file import HEAD_FILE, HeadArrays, write_head
from edge_agent.inference.session import InferenceSettings, Session

MODEL_FILE: Final = "model.onnx"


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into the folder."""

    labels: tuple[str, ...]
    rebuilt: Rebuilt
    linear: Linear | None
    given: InputSpec
    card: str


def write_bundle(order: BundleOrder, contents: Contents) -> str:
    """Write the folder and put it in its place, all or nothing; the model's sha256.

    Raises:
        AuthoringError: it cannot be written.
        BundleError: what was written is not what a device takes.
    """

    def fill(folder: Path) -> str:
        sha256 = _write_files(folder, order, contents)
        Session(read_bundle(folder), InferenceSettings())
        return sha256

    return put_whole(order.out, fill)


def _write_files(folder: Path, order: BundleOrder, contents: Contents) -> str:
    model = contents.rebuilt.model.SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(model).hexdigest()
    write_file(folder / MODEL_FILE, model)
    if contents.linear is not None:
        weight, bias = contents.linear.weight, contents.linear.bias
        head = HeadArrays(weight.astype(np.float32), bias.astype(np.float32))
        write_head(folder / HEAD_FILE, head, model_sha256=sha256)
    write_file(folder / CARD_FILE, contents.card.encode())
    description = _description(order, contents, sha256)
    write_file(folder / BUNDLE_FILE, bundle_toml(description).encode())
    return sha256


def _description(order: BundleOrder, contents: Contents, sha256: str) -> BundleDescription:
    return BundleDescription(
        name=order.bundle_name,
        version=order.version,
        task="classify",
        labels=contents.labels,
        input=contents.given,
        output=OutputSpec(contents.rebuilt.logits, contents.rebuilt.embedding or None),
        provenance=Provenance(order.training_data, order.licence),
        model=ModelFile(MODEL_FILE, sha256),
    )
