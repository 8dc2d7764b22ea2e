"""float16, other inputs, fixed batches, and models whose logits cannot be told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.transformers.float16 import convert_float_to_float16

from edge_agent.authoring.errors import AuthoringError
from edge_agent.inference.bundle import Bundle, read_bundle
from edge_agent.inference.head_file import HEAD_FILE
from edge_agent.inference.session import InferenceSettings, Session
from edge_agent.scoring.logits import softmax

Array = npt.NDArray[Any]
Build = Callable[..., onnx.ModelProto]
Make = Callable[..., Any]
node = helper.make_node

TILES = np.random.default_rng(3).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


def logits_of(bundle: Bundle, tiles: Array = TILES) -> Array:
    """As the device gets them."""
    session = Session(bundle, InferenceSettings())
    return session.run(session.prepare(tiles)).logits


def original_of(model: onnx.ModelProto, given: Array) -> Array:
    """The exported model's own output, tile by tile."""
    session = ort.InferenceSession(model.SerializeToString())
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: given[i : i + 1]})[0] for i in range(7)])


def planes(tiles: Array) -> Array:
    """(N, 3, H, W) float32 of tiles / 255."""
    return np.ascontiguousarray((tiles / np.float32(255)).transpose(0, 3, 1, 2))


def gemm_and_softmax(weights: Any) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The commonest ending."""
    nodes = [
        node("Gemm", ["features", "w", "b"], ["logit"], transB=1),
        node("Softmax", ["logit"], ["out"], axis=1),
    ]
    return nodes, {"w": weights.weight, "b": weights.bias}


@pytest.mark.parametrize("keep_types", [False, True])
@pytest.mark.parametrize("last", ["logit", "out"])
def test_float16(
    keep_types: bool, last: str, weights: Any, build_classifier: Build, make: Make
) -> None:
    """A model in float16, with float16 or float32 at its ends: float32 comes out of the bundle.

    By the standard's own arithmetic, every step rounded, both say the same. onnxruntime leaves
    out roundings, others in each of them: there they agree to float16's last digits.
    """
    nodes, constants = gemm_and_softmax(weights)
    model = build_classifier(nodes if last == "out" else nodes[:1], constants, output=last)
    half = convert_float_to_float16(model, keep_io_types=keep_types)
    made = make(half)
    with np.load(made.folder / HEAD_FILE) as head:
        np.testing.assert_array_equal(
            head["head_weight"], weights.weight.astype(np.float16).astype(np.float32)
        )
    given = planes(TILES) if keep_types else planes(TILES).astype(np.float16)
    rebuilt = onnx.load(made.folder / "model.onnx")
    assert [value.type.tensor_type.elem_type for value in rebuilt.graph.output] == [1, 1]
    (reference,) = ReferenceEvaluator(in_order(half)).run(None, {"image": given})
    logits = ReferenceEvaluator(rebuilt).run(["logits"], {"image": given})[0]
    expected = reference if last == "out" else softmax(reference)
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-5 if last == "logit" else 1e-3)
    answer = original_of(half, given).astype(np.float64)
    found = softmax(logits_of(read_bundle(made.folder)))
    np.testing.assert_allclose(found, answer if last == "out" else softmax(answer), atol=4e-3)


def in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """The converter leaves its casts behind the operators that read them."""
    known = {value.name for value in (*model.graph.input, *model.graph.initializer)}
    waiting, done = list(model.graph.node), []
    while waiting:
        ready = [each for each in waiting if known.issuperset(each.input)]
        done += ready
        known.update(name for each in ready for name in each.output)
        waiting = [each for each in waiting if each not in ready]
    ordered = onnx.ModelProto()
    ordered.CopyFrom(model)
    del ordered.graph.node[:]
    ordered.graph.node.extend(done)
    return ordered


@pytest.mark.parametrize("exported_as", ["plain-dynamo", "residual-script", "attention-script"])
def test_networks_of_torch_in_float16(exported_as: str, exported: Path, make: Make) -> None:
    """Real graphs converted to float16 keep their heads; what rounding does is told."""
    half = convert_float_to_float16(onnx.load(exported / f"{exported_as}.onnx"))
    made = make(half)
    assert made.created.linear is not None
    moved = made.created.proof.difference
    assert moved < 4e-3
    assert (moved > 1e-5) == any("float16 rounds" in note for note in made.created.notes)


@pytest.mark.parametrize("sides", [(32, 32), ("rows", "columns")])
def test_channels_last_and_whole_numbers(
    sides: tuple[Any, Any], weights: Any, build_classifier: Build, make: Make
) -> None:
    """A model that takes (N, H, W, 3) bytes is given float32 NCHW and turns it itself."""
    nodes, constants = gemm_and_softmax(weights)
    model = build_classifier(nodes, constants | {"most": np.float32(255)})
    front = [
        node("Cast", ["bytes"], ["floats"], to=TensorProto.FLOAT),
        node("Div", ["floats", "most"], ["unit"]),
        node("Transpose", ["unit"], ["image"], perm=[0, 3, 1, 2]),
    ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*front, *rest])
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["n", *sides, 3])
    )
    made = make(model, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
    found = softmax(logits_of(read_bundle(made.folder)))
    assert np.abs(found - original_of(model, TILES)).max() < 1e-5


def test_weights_that_are_inputs_too(weights: Any, build_classifier: Build, make: Make) -> None:
    """Older exporters list every weight among the inputs: they are no inputs of a bundle."""
    nodes, constants = gemm_and_softmax(weights)
    model = build_classifier(nodes, constants)
    for tensor in model.graph.initializer:
        kind = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(kind)
    made = make(model)
    assert made.created.linear is not None
    found = softmax(logits_of(read_bundle(made.folder)))
    assert np.abs(found - original_of(model, planes(TILES))).max() < 1e-5


def test_bgr_and_mean_are_what_the_model_sees(
    weights: Any, build_classifier: Build, make: Make
) -> None:
    """The bundle's input is (pixel - mean) / scale in the colour order that was stated."""
    nodes, constants = gemm_and_softmax(weights)
    model = build_classifier(nodes, constants)
    mean, scale = np.array([10, 20, 30], np.float32), np.array([40, 50, 60], np.float32)
    made = make(model, mean=tuple(mean.tolist()), scale=tuple(scale.tolist()), colour="BGR")
    given = ((TILES[..., ::-1] - mean) / scale).transpose(0, 3, 1, 2)
    expected = original_of(model, np.ascontiguousarray(given, dtype=np.float32))
    assert np.abs(softmax(logits_of(read_bundle(made.folder))) - expected).max() < 1e-5


def test_a_fixed_batch_is_freed(weights: Any, build_classifier: Build, make: Make) -> None:
    """Exported for one tile, with shapes that say so: any number of tiles goes afterwards."""
    nodes, constants = gemm_and_softmax(weights)
    flat = [
        *build_classifier(nodes, constants).graph.node[:3],
        node("Reshape", ["pool", "flat"], ["features"]),
    ]
    constants["flat"] = np.array([1, 24])
    model = build_classifier(nodes, constants, body=flat, batch=1, shape=(1, 5))
    made = make(model)
    found = softmax(logits_of(read_bundle(made.folder)))
    assert np.abs(found - original_of(model, planes(TILES))).max() < 1e-5
    assert made.created.linear is not None


def test_a_fixed_batch_that_cannot_be_freed_is_refused(
    weights: Any, build_classifier: Build, make: Make, tmp_path: Path
) -> None:
    """A constant that is joined to the batch: the message says how to export instead."""
    nodes, constants = gemm_and_softmax(weights)
    nodes[:0] = [
        node("Concat", ["features", "other"], ["two"], axis=0),
        node("ReduceMean", ["two"], ["one"], axes=[0], keepdims=1),
    ]
    nodes[2].input[0] = "one"
    constants["other"] = np.ones((1, 24), np.float32)
    model = build_classifier(nodes, constants, batch=1, shape=(1, 5))
    with pytest.raises(AuthoringError) as caught:
        make(model)
    assert "batches of exactly 1" in str(caught.value)
    assert "dynamic_axes" in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_a_model_that_mixes_its_batch_is_refused(
    weights: Any, build_classifier: Build, make: Make
) -> None:
    """What it says of a tile must not depend on the tiles beside it."""
    nodes, constants = gemm_and_softmax(weights)
    nodes[:0] = [
        node("ReduceMean", ["features"], ["mean"], axes=[0], keepdims=1),
        node("Sub", ["features", "mean"], ["centred"]),
    ]
    nodes[2].input[0] = "centred"
    with pytest.raises(AuthoringError, match="depends on the others in its batch") as caught:
        make(build_classifier(nodes, constants))
    assert "model.eval()" in str(caught.value)


def test_no_linear_layer_leaves_the_logit_scores(
    weights: Any, build_classifier: Build, make: Make
) -> None:
    """Logits behind a tanh: a bundle without embedding, and a note that says why."""
    nodes, constants = gemm_and_softmax(weights)
    nodes[1:] = [node("Tanh", ["logit"], ["bent"]), node("Softmax", ["bent"], ["out"], axis=1)]
    model = build_classifier(nodes, constants)
    made = make(model)
    bundle = read_bundle(made.folder)
    assert bundle.description.output.embedding is None
    assert not (made.folder / HEAD_FILE).exists()
    assert made.created.linear is None
    assert any("no linear layer" in note for note in made.created.notes)
    expected = original_of(model, planes(TILES))
    assert np.abs(softmax(logits_of(bundle)) - expected).max() < 1e-5


def test_a_layer_with_weights_from_the_tile_is_none(
    weights: Any, build_classifier: Build, make: Make
) -> None:
    """A product of two tensors of the tile is no linear layer."""
    nodes, constants = gemm_and_softmax(weights)
    nodes[1:] = [
        node("Sigmoid", ["logit"], ["gate"]),
        node("Mul", ["logit", "gate"], ["gated"]),
        node("Softmax", ["gated"], ["out"], axis=1),
    ]
    made = make(build_classifier(nodes, constants))
    assert made.created.linear is None


def test_probabilities_without_logits_become_their_logarithm(
    weights: Any, build_classifier: Build, make: Make
) -> None:
    """A mean of two softmaxes has no logits: log p serves, and it is said."""
    nodes, constants = gemm_and_softmax(weights)
    nodes[1].output[0] = "p"
    nodes += [
        node("Neg", ["logit"], ["other"]),
        node("Softmax", ["other"], ["q"], axis=1),
        node("Mean", ["p", "q"], ["out"]),
    ]
    model = build_classifier(nodes, constants)
    made = make(model)
    expected = original_of(model, planes(TILES))
    logits = logits_of(read_bundle(made.folder))
    np.testing.assert_allclose(logits, np.log(expected), atol=1e-4)
    assert made.created.answer == "probabilities"
    assert any("logarithms" in note for note in made.created.notes)


def test_a_probability_of_zero_stays_finite(build_classifier: Build, make: Make) -> None:
    """Where the model's own probability is 0, its logarithm is the smallest that float32 has."""
    far = np.zeros((5, 24), np.float32)
    nodes = [
        node("Gemm", ["features", "w", "b"], ["logit"], transB=1),
        node("Softmax", ["logit"], ["p"], axis=1),
        node("Mean", ["p", "p"], ["out"]),
    ]
    constants = {"w": far, "b": np.array([0, -200, -300, 0, 0], np.float32)}
    made = make(build_classifier(nodes, constants))
    logits = logits_of(read_bundle(made.folder))
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[:, 1:3], np.log(2.0**-126), rtol=1e-5)


def test_real_images_are_compared_too(
    weights: Any, build_classifier: Build, make: Make, shared_data: Path
) -> None:
    """Aerial tiles are cut as a device cuts them, and their scale becomes the bundle's."""
    nodes, constants = gemm_and_softmax(weights)
    made = make(build_classifier(nodes, constants), images=shared_data / "scenes_ucmerced")
    assert made.created.image_count == 64
    assert made.created.proof.tiles == 64 + 12
    assert made.created.proof.difference < 1e-5


def test_the_scale_comes_from_the_images(
    weights: Any, build_classifier: Build, make: Make, shared_data: Path
) -> None:
    """Georeferenced images say what a pixel is on the ground, and broken ones are named."""
    nodes, constants = gemm_and_softmax(weights)
    made = make(build_classifier(nodes, constants), images=shared_data / "geotiffs")
    assert made.created.given.gsd_m != 0.1
    assert any("corrupt.tif" in note for note in made.created.notes)
    stated = make(
        build_classifier(nodes, constants), images=shared_data / "geotiffs", gsd_m=0.6, force=True
    )
    assert stated.created.given.gsd_m == 0.6
