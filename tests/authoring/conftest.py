"""Classifiers built by hand, with weights that the tests know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper

from edge_agent.authoring.creating import Created, create_bundle
from edge_agent.authoring.order import BundleOrder

SIDE, WIDTH, CLASSES = 32, 24, 5
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Weights:
    """What the head of every hand-built model computes: features @ weight.T + bias."""

    weight: Array
    bias: Array


@pytest.fixture(scope="session")
def weights() -> Weights:
    """(5, 24) and (5,) float32."""
    rng = np.random.default_rng(4)
    weight = rng.normal(0, 0.8, (CLASSES, WIDTH)).astype(np.float32)
    return Weights(weight, rng.normal(0, 1, CLASSES).astype(np.float32))


def stored(name: str, value: Array) -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(value), name)


def build(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array],
    *,
    output: str = "out",
    shape: Sequence[int | str] = ("n", CLASSES),
    batch: int | str = "n",
    opset: int = 17,
    ir_version: int = 8,
    dtype: Any = np.float32,
    body: Sequence[onnx.NodeProto] | None = None,
) -> onnx.ModelProto:
    """image -> convolution -> (n, 24) `features` -> `nodes`, which end in `output`."""
    rng = np.random.default_rng(5)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    kernel = rng.normal(0, 0.3, (6, 3, 3, 3)).astype(dtype)
    usual = [
        helper.make_node("Conv", ["image", "kernel"], ["conv"], strides=[4, 4], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("AveragePool", ["relu"], ["pool"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["pool"], ["features"]),
    ]
    graph = helper.make_graph(
        [*(usual if body is None else body), *nodes],
        "classifier",
        [helper.make_tensor_value_info("image", kind, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(output, kind, list(shape))],
        [stored("kernel", kernel), *(stored(name, value) for name, value in constants.items())],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="session")
def build_classifier() -> Callable[..., onnx.ModelProto]:
    """The builder above."""
    return build


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    """Five class names."""
    path = tmp_path / "labels.txt"
    path.write_text("grass\nwater\nroad\nroof\nsoil\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Made:
    """A bundle made of a model."""

    folder: Path
    created: Created


@pytest.fixture
def make(tmp_path: Path, labels_file: Path) -> Callable[..., Made]:
    """Writes a model to a file, unless it is one, and makes a bundle of it."""

    def made(model: onnx.ModelProto | Path, **changes: Any) -> Made:
        path = tmp_path / "exported.onnx"
        if isinstance(model, Path):
            path = model
        else:
            onnx.save(model, path)
        order = {
            "model": path,
            "labels": labels_file,
            "out": tmp_path / "bundle",
            "size": (SIDE, SIDE),
        }
        arguments = BundleOrder(**(order | changes))
        return Made(arguments.out, create_bundle(arguments))

    return made


@pytest.fixture(scope="session")
def exported(repository: Path) -> Path:
    """Networks that torch exported; see export_architectures.py."""
    return repository / "tests" / "authoring" / "exported"
