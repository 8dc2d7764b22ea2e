"""float16 networks: they run on float32 input, and say float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from edge_agent.inference.bundle import BundleError, read_bundle
from edge_agent.inference.session import InferenceSettings, Session

MakeModel = Callable[..., Any]
RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(size=(3, 4)).round(2)
TILES = RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def run(folder: Path) -> Any:
    """Outputs of the tiles."""
    session = Session(read_bundle(folder), InferenceSettings())
    return session.run(session.prepare(TILES))


def test_half_precision_says_the_same_to_its_precision(
    tiny_bundle: Callable[..., Path], make_linear: MakeModel
) -> None:
    """11 bits of mantissa: logits within 0.5 % of the float32 network's scale, as float32."""
    full = run(tiny_bundle(make_linear(WEIGHT)))
    half = run(tiny_bundle(make_linear(WEIGHT, half=True)))
    assert half.logits.dtype == half.features.dtype == np.float32
    np.testing.assert_allclose(
        half.features, full.features, atol=0.005 * np.abs(full.features).max()
    )
    np.testing.assert_allclose(half.logits, full.logits, atol=0.005 * np.abs(full.logits).max())
    assert not np.array_equal(half.logits, full.logits)


def test_members_of_both_precisions_fly_together(
    tiny_ensemble: Callable[..., Path], tiny_bundle: Callable[..., Path], make_linear: MakeModel
) -> None:
    """Each gets the input in its own type and says what it says alone."""
    models = [make_linear(WEIGHT, half=True), make_linear(-WEIGHT)]
    alone = [run(tiny_bundle(model)).logits for model in models]
    np.testing.assert_array_equal(run(tiny_ensemble(models)).member_logits, np.stack(alone))


@pytest.mark.filterwarnings("error")
def test_input_beyond_half_precision_is_refused_before_the_flight(
    tiny_bundle: Callable[..., Path], make_linear: MakeModel
) -> None:
    """A scale of 1/1000 asks for 255000, float16 ends at 65504: the probe says where to look."""
    scale = "scale = [0.001, 0.001, 0.001]"
    assert np.isfinite(run(tiny_bundle(make_linear(WEIGHT), scale=scale)).logits).all()
    bundle = read_bundle(tiny_bundle(make_linear(WEIGHT, half=True), scale=scale))
    with pytest.raises(BundleError, match="not finite") as caught:
        Session(bundle, InferenceSettings())
    assert "input.mean and scale" in str(caught.value)


@pytest.mark.parametrize(("kind", "word"), [("DOUBLE", "double"), ("UINT8", "uint8")])
def test_other_inputs_are_refused(
    tiny_bundle: Callable[..., Path], make_linear: MakeModel, kind: str, word: str
) -> None:
    """float64 or bytes: the message names the type and what is taken."""
    model = make_linear(WEIGHT)
    del model.graph.node[:-1], model.graph.initializer[:], model.graph.output[1:]
    model.graph.node[0].op_type = "Identity"
    model.graph.node[0].input[:] = ["image"]
    for entry in (model.graph.input[0], model.graph.output[0]):
        entry.type.tensor_type.elem_type = getattr(TensorProto, kind)
    bundle = read_bundle(tiny_bundle(model, embedding=""))
    with pytest.raises(BundleError, match=rf"tensor\({word}\), not float32 or float16"):
        Session(bundle, InferenceSettings())


def test_an_output_that_is_no_float_is_refused(
    tiny_bundle: Callable[..., Path], make_linear: MakeModel
) -> None:
    """A network that ends in class numbers has no logits under that name."""
    model = make_linear(WEIGHT)
    model.graph.node[-1].output[:] = ["raw"]
    last = model.graph.node.add()
    last.op_type = "ArgMax"
    last.input[:], last.output[:] = ["raw"], ["logits"]
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    model.graph.output[0].type.tensor_type.ClearField("shape")
    bundle = read_bundle(tiny_bundle(model))
    with pytest.raises(BundleError, match=r"'logits' is tensor\(int64\), not floats"):
        Session(bundle, InferenceSettings())
