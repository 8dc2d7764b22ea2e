"""Fixtures shared by all rooms."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root: shipped bundles, configs and units are tested where they stand."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery beside the checkout, or at TILESIFT_DATA; tests that need it skip without."""
    folder = Path(os.environ.get("TILESIFT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real imagery is not there: {folder} (set TILESIFT_DATA)")
    return folder


MEAN, SCALE = [10.0, 20.0, 30.0], [2.0, 4.0, 5.0]


def channel_mean_model(classes: int = 4, opset: int = 17) -> onnx.ModelProto:
    """Embedding = mean of each input channel; logits = embedding @ W with W[i, j] = i + 3 j."""
    weight = np.add.outer(np.arange(3.0), 3.0 * np.arange(classes)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "channel-mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3]),
        ],
        [helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def write_bundle(folder: Path, model: bytes, /, **changes: str) -> Path:
    """A bundle folder around `model`; `changes` replace lines of its bundle.toml by their key."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    lines = {
        "name": 'name = "tiny"',
        "version": 'version = "1.0.0"',
        "task": 'task = "classify"',
        "labels": 'labels = ["a", "b", "c", "d"]',
        "model": '[model]\nfile = "model.onnx"',
        "sha256": f'sha256 = "{hashlib.sha256(model).hexdigest()}"',
        "input": '[input]\nname = "image"',
        "size": "size = [32, 32]",
        "colour": 'colour = "RGB"',
        "mean": f"mean = {MEAN}",
        "scale": f"scale = {SCALE}",
        "gsd_m": "gsd_m = 0.1",
        "output": '[output]\nlogits = "logits"',
        "embedding": 'embedding = "embedding"',
        "provenance": '[provenance]\ntraining_data = "none"\nlicence = "none"',
    } | changes
    (folder / "bundle.toml").write_text("\n".join(lines.values()), encoding="utf-8")
    return folder


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Writes the channel-mean bundle, with lines of bundle.toml replaced on request."""

    def make(model: onnx.ModelProto | bytes | None = None, /, **changes: str) -> Path:
        content = channel_mean_model() if model is None else model
        data = content if isinstance(content, bytes) else content.SerializeToString()
        return write_bundle(tmp_path / "bundle", data, **changes)

    return make


@pytest.fixture
def make_model() -> Callable[..., onnx.ModelProto]:
    """The builder of the model itself."""
    return channel_mean_model
