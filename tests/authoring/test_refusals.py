"""What cannot become a bundle is refused in words, all at once, and leaves nothing behind."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_agent.authoring import loading
from edge_agent.authoring.errors import AuthoringError
from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.session import InferenceSettings, Session
from operations.errors import ExitCode

Build = Callable[..., onnx.ModelProto]
Make = Callable[..., Any]
node = helper.make_node


def gemm(weights: Any) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """Logits as `out`."""
    layer = node("Gemm", ["features", "w", "b"], ["out"], transB=1)
    return [layer], {"w": weights.weight, "b": weights.bias}


def refusal(make: Make, model: Any, **changes: Any) -> str:
    """The whole message; nothing was written."""
    with pytest.raises(AuthoringError) as caught:
        make(model, **changes)
    return str(caught.value)


@pytest.mark.parametrize("flag", [{"gsd_m": -3.0}, {"name": "My Model!"}, {"version": ""}])
def test_a_flag_with_a_wrong_value_is_a_matter_of_usage(
    weights: Any, build_classifier: Build, make: Make, flag: dict[str, Any]
) -> None:
    """Exit code 2, as for any other flag that cannot be read."""
    with pytest.raises(AuthoringError) as caught:
        make(build_classifier(*gemm(weights)), **flag)
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_multi_label_model(weights: Any, build_classifier: Build, make: Make) -> None:
    """A sigmoid at the end gives no single class."""
    nodes, constants = gemm(weights)
    nodes[0].output[0] = "logit"
    nodes += [node("Sigmoid", ["logit"], ["p"]), node("Identity", ["p"], ["out"])]
    assert "multi-label" in refusal(make, build_classifier(nodes, constants))


@pytest.mark.parametrize("shape", [("n", 6, 8, 8), ("n", 6, "rows", "columns")])
def test_a_map_of_scores(shape: tuple[Any, ...], build_classifier: Build, make: Make) -> None:
    """Detection and segmentation have more than one row per tile, known before or on running."""
    model = build_classifier([node("Identity", ["relu"], ["out"])], {}, shape=shape)
    assert "detection and segmentation" in refusal(make, model)


def test_class_numbers_instead_of_scores(weights: Any, build_classifier: Build, make: Make) -> None:
    """An argmax at the end leaves nothing to score."""
    nodes, constants = gemm(weights)
    nodes[0].output[0] = "logit"
    nodes.append(node("ArgMax", ["logit"], ["out"], axis=1, keepdims=0))
    model = build_classifier(nodes, constants, shape=("n",))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    assert "argmax" in refusal(make, model)


def test_one_number_per_tile(build_classifier: Build, make: Make) -> None:
    """A model of one output, for two classes, lacks the second."""
    constants = {"w": np.ones((1, 24), np.float32), "b": np.zeros(1, np.float32)}
    nodes = [node("Gemm", ["features", "w", "b"], ["out"], transB=1)]
    message = refusal(make, build_classifier(nodes, constants, shape=("n", 1)))
    assert "one number per tile" in message


def test_everything_at_once(
    weights: Any, build_classifier: Build, make: Make, tmp_path: Path
) -> None:
    """Size, labels, name, scale and place are all named in one message."""
    nodes, constants = gemm(weights)
    labels = tmp_path / "few.txt"
    labels.write_text("a\nb\n\nd\n", encoding="utf-8")
    place = tmp_path / "mine"
    place.mkdir()
    (place / "notes.txt").write_text("keep", encoding="utf-8")
    message = refusal(
        make, build_classifier(nodes, constants), labels=labels, size=(64, 64), out=place,
        name="Not a name", version="", gsd_m=-1.0, scale=(1.0, 0.0, 1.0), mean=(0.0, np.nan, 0.0),
    )  # fmt: skip
    for expected in (
        "no name for class 2", "32 x 32 px, not 64 x 64", "is no bundle", "--name", "--version",
        "--gsd", "--scale holds a 0", "--mean holds",
    ):  # fmt: skip
        assert expected in message
    assert (place / "notes.txt").read_text(encoding="utf-8") == "keep"


def test_another_number_of_labels(
    weights: Any, build_classifier: Build, make: Make, tmp_path: Path
) -> None:
    """Four names for five classes."""
    labels = tmp_path / "four.txt"
    labels.write_text("a\nb\nc\nd\n", encoding="utf-8")
    message = refusal(make, build_classifier(*gemm(weights)), labels=labels)
    assert "has 5 classes, the labels are 4" in message


def test_several_outputs(weights: Any, build_classifier: Build, make: Make) -> None:
    """Of two outputs with five values one must be chosen; a single fitting one is taken."""
    nodes, constants = gemm(weights)
    nodes.append(node("Tanh", ["out"], ["bent"]))
    nodes.append(node("Relu", ["features"], ["more"]))
    model = build_classifier(nodes, constants)
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["n", 24]))
    assert make(model).created.linear is not None
    model.graph.output.append(helper.make_tensor_value_info("bent", TensorProto.FLOAT, ["n", 5]))
    message = refusal(make, model, force=True)
    assert "--output" in message
    assert "out, more, bent" in message
    assert "no output 'other'" in refusal(make, model, output="other", force=True)
    made = make(model, output="bent", force=True)
    assert made.created.linear is None


def test_other_inputs(weights: Any, build_classifier: Build, make: Make) -> None:
    """Four channels and two inputs are no tiles."""
    model = build_classifier(*gemm(weights))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    kernel = model.graph.initializer[0]
    kernel.CopyFrom(onnx.numpy_helper.from_array(np.ones((6, 4, 3, 3), np.float32), "kernel"))
    assert "4 channels" in refusal(make, model)
    model = build_classifier(*gemm(weights))
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    assert "2 inputs" in refusal(make, model)


def test_a_size_that_nobody_states(weights: Any, build_classifier: Build, make: Make) -> None:
    """A model of any size needs --size; one of a fixed size does not."""
    model = build_classifier(*gemm(weights))
    assert make(model, size=None).created.given.size == (32, 32)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.Clear()
        dim.dim_param = "side"
    assert "give --size" in refusal(make, model, size=None, force=True)
    assert make(model, force=True).created.given.size == (32, 32)
    assert "does not run on a tile" in refusal(make, model, size=(48, 48), force=True)


@pytest.mark.parametrize("opset", [10, 23])
def test_opsets_beyond(opset: int, weights: Any, build_classifier: Build, make: Make) -> None:
    """Opsets that nobody tried are refused with the ones that were."""
    model = build_classifier(*gemm(weights), opset=opset, ir_version=10)
    assert "opset_version from 11 to 22" in refusal(make, model)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07"])
def test_files_that_are_no_models(content: bytes, make: Make, tmp_path: Path) -> None:
    """Empty, text, and a header alone."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert "ONNX model" in refusal(make, path)
    assert "cannot read it" in refusal(make, tmp_path / "absent.onnx")


def test_numbers_that_are_not_finite(weights: Any, build_classifier: Build, make: Make) -> None:
    """A model that overflows on grey tiles says nothing of any."""
    nodes, constants = gemm(weights)
    constants["b"] = constants["b"] + np.float32(np.nan)
    assert "not finite" in refusal(make, build_classifier(nodes, constants))


def test_weights_beside_the_model(
    weights: Any, build_classifier: Build, make: Make, tmp_path: Path
) -> None:
    """External data is taken into the bundle's one file; without it the file is named."""
    model = build_classifier(*gemm(weights))
    path = tmp_path / "big.onnx"
    onnx.save(model, path, save_as_external_data=True, location="big.bin", size_threshold=0)
    made = make(path)
    (tmp_path / "big.bin").unlink()
    bundle = read_bundle(made.folder)
    Session(bundle, InferenceSettings())
    assert "weights file big.bin is missing" in refusal(make, path, force=True)
    assert read_bundle(made.folder).model_sha256 == bundle.model_sha256


def test_more_than_one_file_holds(
    weights: Any, build_classifier: Build, make: Make, tmp_path: Path
) -> None:
    """Weights of 3 GiB are refused before they are read."""
    model = build_classifier(*gemm(weights))
    path = tmp_path / "huge.onnx"
    onnx.save(model, path, save_as_external_data=True, location="huge.bin", size_threshold=0)
    edited = onnx.load(path, load_external_data=False)
    for entry in edited.graph.initializer[0].external_data:
        if entry.key == "length":
            entry.value = str(3 * 2**30)
    path.write_bytes(edited.SerializeToString())
    with (tmp_path / "huge.bin").open("r+b") as file:
        file.truncate(3 * 2**30)  # sparse: takes no room
    assert "GiB" in refusal(make, path)
    assert loading.LARGEST == 2**31 - 1


def test_force_and_a_full_disk(
    weights: Any, build_classifier: Build, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle is replaced only on request, and stays whole when the new one cannot be written."""
    nodes, constants = gemm(weights)
    made = make(build_classifier(nodes, constants))
    before = {file.name: file.read_bytes() for file in made.folder.iterdir()}
    other = build_classifier(nodes, constants | {"b": constants["b"] + 1})
    assert "--force" in refusal(make, other)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        assert "No space left" in refusal(make, other, force=True)
    assert {file.name: file.read_bytes() for file in made.folder.iterdir()} == before
    assert make(other, force=True).created.sha256 != made.created.sha256
    assert [entry.name for entry in made.folder.parent.iterdir() if ".part" in entry.name] == []
    again = {file.name: file.read_bytes() for file in made.folder.iterdir()}
    make(other, force=True)
    assert {file.name: file.read_bytes() for file in made.folder.iterdir()} == again


def test_an_empty_folder_is_filled(
    weights: Any, build_classifier: Build, make: Make, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Also the one that the command is started in."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    make(build_classifier(*gemm(weights)), out=Path())
    assert {file.name for file in Path().iterdir()} == {
        "bundle.toml", "model.onnx", "head.npz", "MODEL_CARD.md",
    }  # fmt: skip
    assert read_bundle(place).description.labels[0] == "grass"
