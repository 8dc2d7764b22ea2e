"""Tiny networks with any last layer, and bundles of several of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

MakeModel = Callable[..., onnx.ModelProto]
MakeEnsemble = Callable[..., Path]


def linear(
    weight: npt.ArrayLike, bias: npt.ArrayLike = 0.0, *, half: bool = False, before: str = ""
) -> onnx.ModelProto:
    """Embedding (N, 3) = channel means, logits = embedding W + b with W (3, C).

    `before` names an operator that the embedding goes through; `half` makes all of it float16.
    """
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    dtype = np.float16 if half else np.float32
    last = np.asarray(weight, dtype=dtype)
    shift = np.broadcast_to(np.asarray(bias, dtype=dtype), last.shape[1:])
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat" if before else "embedding"]),
        *([helper.make_node(before, ["flat"], ["embedding"])] if before else []),
        helper.make_node("Gemm", ["embedding", "weight", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", kind, ["n", 3, 32, 32])],
        [
            helper.make_tensor_value_info("logits", kind, ["n", last.shape[1]]),
            helper.make_tensor_value_info("embedding", kind, ["n", 3]),
        ],
        [onnx.numpy_helper.from_array(last, "weight"), onnx.numpy_helper.from_array(shift, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.fixture
def make_linear() -> MakeModel:
    """The builder of networks."""
    return linear


@pytest.fixture
def tiny_ensemble(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> MakeEnsemble:
    """Writes a bundle of several members, m0.onnx, m1.onnx, ... in the order given."""

    def make(models: Sequence[onnx.ModelProto | bytes], /, **changes: str) -> Path:
        contents = [
            each if isinstance(each, bytes) else each.SerializeToString() for each in models
        ]
        tables = [
            f'[[members]]\nfile = "m{place}.onnx"\nsha256 = "{hashlib.sha256(each).hexdigest()}"'
            for place, each in enumerate(contents)
        ]
        folder = tiny_bundle(b"", **({"model": "\n".join(tables), "sha256": ""} | changes))
        (folder / "model.onnx").unlink()
        for place, each in enumerate(contents):
            (folder / f"m{place}.onnx").write_bytes(each)
        return folder

    return make
