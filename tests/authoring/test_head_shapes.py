"""Every way to write a linear layer down is read back to the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge_agent.authoring.ending import find_ending, find_linear
from edge_agent.authoring.graph import GraphView
from edge_agent.authoring.heads import find_head
from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.head_file import HEAD_FILE, read_head
from edge_agent.inference.session import InferenceSettings, Session

Array = npt.NDArray[Any]
Build = Callable[..., onnx.ModelProto]
Make = Callable[..., Any]
node = helper.make_node


def head_of(folder: Path) -> tuple[Array, Array]:
    """Weight and bias in head.npz."""
    bundle = read_bundle(folder)
    head, problems = read_head(
        folder / HEAD_FILE, classes=5, model_sha256=bundle.model_sha256.hex()
    )
    assert problems == []
    assert head is not None
    return head.weight, head.bias


def endings(weight: Array, bias: Array) -> dict[str, tuple[list[onnx.NodeProto], dict[str, Array]]]:
    """Name -> operators from `features` to `out` and their weights, all the same function."""
    w, b = {"w": weight.T.copy()}, {"b": bias}
    low, step = float(weight.min()), float(np.ptp(weight)) / 255
    levels = np.round((weight - low) / step).astype(np.uint8)
    zero = np.uint8(round(-low / step))
    return {
        "add on the right": (
            [node("MatMul", ["features", "w"], ["m"]), node("Add", ["m", "b"], ["out"])],
            w | b,
        ),
        "add on the left": (
            [node("MatMul", ["features", "w"], ["m"]), node("Add", ["b", "m"], ["out"])],
            w | b,
        ),
        "subtracted": (
            [node("MatMul", ["features", "w"], ["m"]), node("Sub", ["m", "c"], ["out"])],
            w | {"c": -bias},
        ),
        "subtracted from": (
            [node("MatMul", ["features", "v"], ["m"]), node("Sub", ["b", "m"], ["out"])],
            b | {"v": -weight.T},
        ),
        "transposed weight": (
            [
                node("Transpose", ["t"], ["w"], perm=[1, 0]),
                node("MatMul", ["features", "w"], ["m"]),
                node("Add", ["m", "b"], ["out"]),
            ],
            b | {"t": weight},
        ),
        "weights as constants": (
            [
                node("Constant", [], ["w"], value=numpy_helper.from_array(weight)),
                node("Constant", [], ["c"], value=numpy_helper.from_array(bias)),
                node("Identity", ["w"], ["same"]),
                node("Gemm", ["features", "same", "c"], ["out"], transB=1),
            ],
            {},
        ),
        "weights stored as double": (
            [
                node("Cast", ["d"], ["w"], to=TensorProto.FLOAT),
                node("Gemm", ["features", "w", "b"], ["out"], transB=1),
            ],
            b | {"d": weight.astype(np.float64)},
        ),
        "weights stored in 8 bits": (
            [
                node("DequantizeLinear", ["q", "step", "zero"], ["w"]),
                node("Gemm", ["features", "w", "b"], ["out"], transB=1),
            ],
            b | {"q": levels, "step": np.float32(step), "zero": zero},
        ),
        "weights scaled as they are used": (
            [
                node("Mul", ["half", "two"], ["w"]),
                node("Gemm", ["features", "w", "b"], ["out"], transB=1),
            ],
            b | {"half": weight / 2, "two": np.float32(2)},
        ),
        "three dimensions": (
            [
                node("Reshape", ["features", "as3"], ["f3"]),
                node("MatMul", ["f3", "w"], ["m"]),
                node("Add", ["m", "b"], ["a"]),
                node("Reshape", ["a", "as2"], ["out"]),
            ],
            w | b | {"as3": np.array([-1, 1, 24]), "as2": np.array([-1, 5])},
        ),
        "1 x 1 convolution": (
            [
                node("Reshape", ["features", "as4"], ["f4"]),
                node("Conv", ["f4", "k", "b"], ["c"]),
                node("Flatten", ["c"], ["out"]),
            ],
            b | {"k": weight[:, :, None, None], "as4": np.array([-1, 24, 1, 1])},
        ),
        "convolution over all": (
            [node("Conv", ["pool", "k", "b"], ["c"]), node("Flatten", ["c"], ["out"])],
            b | {"k": weight.reshape(5, 6, 2, 2)},
        ),
        "scaled and shifted behind": (
            [
                node("Gemm", ["features", "v"], ["m"], transB=1),
                node("Div", ["m", "four"], ["d"]),
                node("Neg", ["d"], ["n"]),
                node("Add", ["n", "b"], ["a"]),
                node("Identity", ["a"], ["i"]),
                node("Dropout", ["i"], ["out"]),
            ],
            b | {"v": -4 * weight, "four": np.array([4], np.float32)},
        ),
    }


NAMES = tuple(endings(np.zeros((5, 24), np.float32) + np.eye(5, 24), np.zeros(5)))


@pytest.mark.parametrize("last", ["", "Softmax", "LogSoftmax"])
@pytest.mark.parametrize("name", NAMES)
def test_the_layer_is_found_however_it_is_written(
    name: str, last: str, weights: Any, build_classifier: Build, make: Make
) -> None:
    """Head weight and bias come back, and the bundle's own run agrees with them."""
    nodes, constants = endings(weights.weight, weights.bias)[name]
    if last:
        nodes[-1].output[0] = "before"
        nodes.append(node(last, ["before"], ["out"], axis=1))
    made = make(build_classifier(nodes, constants))
    weight, bias = head_of(made.folder)
    close = 0.015 if "8 bits" in name else 1e-5  # one of the 256 levels
    np.testing.assert_allclose(weight, weights.weight, atol=close)
    np.testing.assert_allclose(bias, weights.bias, atol=1e-6)
    assert made.created.proof.difference < 1e-5


@pytest.mark.parametrize("opset", range(11, 23))
def test_every_opset_from_11_to_22(
    opset: int, weights: Any, build_classifier: Build, make: Make
) -> None:
    """Gemm and softmax of each opset, at the oldest encoding that goes with it."""
    nodes = [
        node("Gemm", ["features", "w", "b"], ["logit"], transB=1),
        node("Softmax", ["logit"], ["out"], axis=1),
    ]
    constants = {"w": weights.weight, "b": weights.bias}
    ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    model = build_classifier(nodes, constants, opset=opset, ir_version=ir_version)
    made = make(model)
    weight, bias = head_of(made.folder)
    np.testing.assert_array_equal(weight, weights.weight)
    np.testing.assert_array_equal(bias, weights.bias)
    onnx.checker.check_model(onnx.load(made.folder / "model.onnx"), full_check=True)


BIASES = st.sampled_from(["none", "(C,)", "(1, C)", "(1,)", "()"])
FACTORS = st.floats(-3, 3).filter(lambda value: abs(value) > 0.05)


@given(
    transposed_input=st.booleans(), transposed_weight=st.booleans(), alpha=FACTORS, beta=FACTORS,
    bias_shape=BIASES, seed=st.integers(0, 2**16),
)  # fmt: skip
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_all_attributes_of_gemm(
    build_classifier: Build, transposed_input: bool, transposed_weight: bool, alpha: float,
    beta: float, bias_shape: str, seed: int,
) -> None:  # fmt: skip
    """alpha, beta, both transpositions and each shape of the bias are in what is found."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(5, 24)).astype(np.float32)
    shape = {"(C,)": (5,), "(1, C)": (1, 5), "(1,)": (1,), "()": (), "none": ()}[bias_shape]
    bias = rng.normal(size=shape).astype(np.float32)
    constants = {"w": weight if transposed_weight else weight.T.copy()}
    inputs = ["turned" if transposed_input else "features", "w"]
    if bias_shape != "none":
        constants["b"] = np.asarray(bias)
        inputs.append("b")
    nodes = [
        *([node("Transpose", ["features"], ["turned"], perm=[1, 0])] if transposed_input else []),
        node("Gemm", inputs, ["out"], alpha=alpha, beta=beta, transA=int(transposed_input),
             transB=int(transposed_weight)),
    ]  # fmt: skip
    view = GraphView(build_classifier(nodes, constants))
    linear = find_linear(view, find_ending(view, "out").logits)
    assert linear is not None
    assert linear.tensor == inputs[0]
    assert linear.transposed is transposed_input
    np.testing.assert_allclose(linear.weight, alpha * weight, rtol=1e-5, atol=1e-6)
    expected = np.zeros(5) if bias_shape == "none" else beta * np.broadcast_to(bias, (1, 5))[0]
    np.testing.assert_allclose(linear.bias, expected, rtol=1e-5, atol=1e-6)


def test_a_layer_that_reads_columns(weights: Any, build_classifier: Build, make: Make) -> None:
    """Gemm with transA: the embedding comes out one row per tile all the same."""
    nodes = [
        node("Transpose", ["features"], ["turned"], perm=[1, 0]),
        node("Gemm", ["turned", "w", "b"], ["out"], transA=1, transB=1),
    ]
    made = make(build_classifier(nodes, {"w": weights.weight, "b": weights.bias}))
    np.testing.assert_array_equal(head_of(made.folder)[0], weights.weight)
    bundle = read_bundle(made.folder)
    session = Session(bundle, InferenceSettings())
    outputs = session.run(session.prepare(np.zeros((3, 32, 32, 3), np.uint8)))
    assert outputs.features is not None
    assert outputs.features.shape == (3, 24)
    found = find_head(made.folder / "model.onnx")
    assert found is not None
    np.testing.assert_array_equal(found[0], weights.weight)


@pytest.mark.parametrize("pool", ["GlobalAveragePool", "ReduceMean"])
def test_averages_behind_the_layer_are_taken_before_it(
    pool: str, build_classifier: Build, make: Make
) -> None:
    """A fully convolutional classifier: the mean of the layer is the layer of the mean."""
    kernel = np.random.default_rng(1).normal(size=(5, 6, 1, 1)).astype(np.float32)
    bias = np.arange(5, dtype=np.float32)
    attributes = {"axes": [2, 3], "keepdims": 1} if pool == "ReduceMean" else {}
    nodes = [
        node("Conv", ["relu", "k", "b"], ["map"]),
        node(pool, ["map"], ["mean"], **attributes),
        node("Flatten", ["mean"], ["out"]),
    ]
    made = make(build_classifier(nodes, {"k": kernel, "b": bias}))
    weight, found_bias = head_of(made.folder)
    np.testing.assert_array_equal(weight, kernel[:, :, 0, 0])
    np.testing.assert_array_equal(found_bias, bias)
    assert find_head(made.folder / "model.onnx") is not None


@pytest.mark.parametrize("name", ["scenes-aerial", "crown-health", "rehearsal"])
def test_the_heads_of_the_shipped_models(name: str, repository: Path) -> None:
    """What is read out of model.onnx is what the training wrote into the calibration."""
    folder = repository / "models" / name
    found = find_head(folder / "model.onnx")
    assert found is not None
    with np.load(folder / "calibration.npz") as calibration:
        np.testing.assert_array_equal(found[0].astype(np.float32), calibration["head_weight"])
        np.testing.assert_array_equal(found[1].astype(np.float32), calibration["head_bias"])


def test_an_embedding_that_the_layer_does_not_read_is_no_head(
    weights: Any, build_classifier: Build, tmp_path: Path
) -> None:
    """find_head answers only for the embedding that the model exposes."""
    nodes = [
        node("Gemm", ["features", "w", "b"], ["logits"], transB=1),
        node("Relu", ["features"], ["embedding"]),
    ]
    constants = {"w": weights.weight, "b": weights.bias}
    model = build_classifier(nodes, constants, output="logits")
    model.graph.output.append(
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 24])
    )
    onnx.save(model, tmp_path / "m.onnx")
    assert find_head(tmp_path / "m.onnx") is None
    assert find_head(tmp_path / "m.onnx", embedding="absent") is None
    assert find_head(tmp_path / "no.onnx") is None


def test_a_layer_inside_a_function_of_the_model(
    weights: Any, build_classifier: Build, make: Make
) -> None:
    """Exporters that keep modules as functions: the layer is found inside."""
    opsets = [helper.make_opsetid("", 17)]
    layer = helper.make_function(
        "mine", "Linear", ["x", "w", "b"], ["y"],
        [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])], opsets,
    )  # fmt: skip
    constants = {"w": weights.weight.T.copy(), "b": weights.bias}
    plain = build_classifier([node("Gemm", ["features", "w", "b"], ["out"])], constants)
    model = onnx.ModelProto()
    model.CopyFrom(plain)
    model.functions.append(layer)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[-1].CopyFrom(node("Linear", ["features", "w", "b"], ["out"], domain="mine"))
    made = make(model)
    np.testing.assert_array_equal(head_of(made.folder)[0], weights.weight)
    assert not onnx.load(made.folder / "model.onnx").functions


def test_branches_keep_what_they_read_from_outside(
    weights: Any, build_classifier: Build, make: Make
) -> None:
    """An If in the body reads weights of the main graph: they stay when dead parts are dropped."""
    result = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    twice = helper.make_graph([node("Mul", ["early", "two"], ["r"])], "twice", [], [result])
    once = helper.make_graph([node("Identity", ["early"], ["r"])], "once", [], [result])
    body = [
        node("Conv", ["image", "kernel"], ["conv"], strides=[4, 4], pads=[1, 1, 1, 1]),
        node("Relu", ["conv"], ["early"]),
        node("If", ["yes"], ["relu"], then_branch=twice, else_branch=once),
        node("AveragePool", ["relu"], ["pool"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Flatten", ["pool"], ["features"]),
    ]
    nodes = [
        node("Gemm", ["features", "w", "b"], ["logit"], transB=1),
        node("Softmax", ["logit"], ["out"], axis=1),
    ]
    constants = {
        "w": weights.weight, "b": weights.bias, "yes": np.array([True]), "two": np.float32(2),
    }  # fmt: skip
    made = make(build_classifier(nodes, constants, body=body))
    np.testing.assert_array_equal(head_of(made.folder)[0], weights.weight)
    kinds = [each.op_type for each in onnx.load(made.folder / "model.onnx").graph.node]
    assert "If" in kinds
    assert "Softmax" not in kinds


def test_a_tensor_of_the_model_that_is_called_logits_already(
    weights: Any, build_classifier: Build, make: Make
) -> None:
    """Names that are taken by something else are left alone."""
    nodes = [
        node("Relu", ["features"], ["logits"]),
        node("Neg", ["logits"], ["embedding"]),
        node("Gemm", ["embedding", "w", "b"], ["out"], transB=1),
    ]
    constants = {"w": weights.weight, "b": weights.bias}
    made = make(build_classifier(nodes, constants))
    output = read_bundle(made.folder).description.output
    assert output.embedding == "embedding"
    assert output.logits == "logits_2"
    found = find_head(made.folder / "model.onnx", output.logits, output.embedding)
    assert found is not None
    np.testing.assert_array_equal(found[0], weights.weight)
