"""Networks exported by both of torch's exporters become bundles that say what torch said."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.head_file import HEAD_FILE, HeadArrays, read_head
from edge_agent.inference.session import InferenceSettings, Session
from edge_agent.scoring.logits import softmax

ARCHITECTURES = {"plain": 10, "residual": 8, "depthwise": 16, "attention": 12}
"""Name -> length of the embedding."""
EXPORTERS = ("script", "dynamo")
Floats = npt.NDArray[Any]


def seeded_pixels() -> npt.NDArray[np.uint8]:
    """(6, 32, 32, 3): what export_architectures.py showed to torch, as tiles."""
    planes = np.random.default_rng(20).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    return planes.transpose(0, 2, 3, 1)


def outputs_and_head(folder: Path) -> tuple[Floats, Floats, HeadArrays]:
    """Logits and embedding as the device gets them, and head.npz."""
    bundle = read_bundle(folder)
    session = Session(bundle, InferenceSettings())
    outputs = session.run(session.prepare(seeded_pixels()))
    head, problems = read_head(
        folder / HEAD_FILE,
        classes=len(bundle.description.labels),
        model_sha256=bundle.model_sha256.hex(),
    )
    assert problems == []
    assert head is not None
    assert outputs.features is not None
    return outputs.logits, outputs.features, head


def assert_says_what_torch_said(folder: Path, expected: Floats, width: int) -> None:
    """Probabilities to 1e-5; logits are the head's of the embedding."""
    logits, features, head = outputs_and_head(folder)
    assert features.shape == (6, width)
    assert np.abs(softmax(logits) - expected).max() < 1e-5
    assert np.abs(logits - (features @ head.weight.T + head.bias)).max() < 1e-4
    assert np.ptp(features, axis=0).max() > 1e-3  # no constant stands in for an embedding


@pytest.mark.parametrize("ending", ["", "-softmax"])
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_of_torch_becomes_a_bundle(
    architecture: str, exporter: str, ending: str, exported: Path, make: Callable[..., Any]
) -> None:
    """Plain, residual, depthwise and attention pooling, with and without softmax."""
    made = make(exported / f"{architecture}-{exporter}{ending}.onnx")
    with np.load(exported / "expected.npz") as expected:
        assert_says_what_torch_said(
            made.folder, expected[architecture], ARCHITECTURES[architecture]
        )
    assert made.created.answer == ("softmax" if ending else "logits")
    assert made.created.proof.difference < 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_both_exporters_and_endings_give_the_same_head(
    architecture: str, exported: Path, make: Callable[..., Any], tmp_path: Path
) -> None:
    """The layer that is found is the network's, however the file came about."""
    heads = []
    for exporter in EXPORTERS:
        for ending in ("", "-softmax"):
            name = f"{architecture}-{exporter}{ending}"
            made = make(exported / f"{name}.onnx", out=tmp_path / name)
            heads.append(outputs_and_head(made.folder)[2])
    for head in heads[1:]:
        np.testing.assert_allclose(head.weight, heads[0].weight, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(head.bias, heads[0].bias, rtol=1e-6, atol=1e-7)


def exporting(repository: Path) -> ModuleType:
    """export_architectures.py as a module."""
    path = repository / "tests" / "authoring" / "export_architectures.py"
    spec = importlib.util.spec_from_file_location("export_architectures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_networks_exported_now_become_bundles_too(
    exporter: str, repository: Path, make: Callable[..., Any], tmp_path: Path
) -> None:
    """The torch that is installed here writes files that are understood."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    if exporter == "dynamo":
        pytest.importorskip("onnxscript", reason="torch's newer exporter needs onnxscript")
    module = exporting(repository)
    for architecture, width in ARCHITECTURES.items():
        network = module.network(architecture)
        file = tmp_path / f"{architecture}.onnx"
        module.export(network, exporter, file)
        with torch.no_grad():
            expected = torch.softmax(network(module.seeded_input()), dim=1).numpy()
        made = make(file, out=tmp_path / f"bundle-{architecture}")
        assert_says_what_torch_said(made.folder, expected, width)
