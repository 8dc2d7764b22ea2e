"""From the richest guess at a model's ending to the first one that proves right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from edge_agent.authoring.ending import Linear, find_ending, find_linear
from edge_agent.authoring.errors import AuthoringError
from edge_agent.authoring.graph import GraphView
from edge_agent.authoring.proving import Answer, Disproved, Proof, as_probabilities, prove
from edge_agent.authoring.running import Floats, InputForm, Runner
from edge_agent.authoring.surgery import Plan, Rebuilt, rebuild
from operations.errors import Problem

_HALF: Final = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True, slots=True)
class Original:
    """The exported model, loaded and looked at."""

    model: onnx.ModelProto
    runner: Runner
    form: InputForm
    output: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The model that goes into the bundle."""

    rebuilt: Rebuilt
    linear: Linear | None
    logarithm: bool
    """Logits are the logarithms of the model's probabilities."""
    proof: Proof
    notes: tuple[str, ...]


def find_model(
    original: Original, size: tuple[int, ...], prepared: npt.NDArray[np.float32],
    answer: Floats, kind: Answer,
) -> Found:  # fmt: skip
    """The first rebuilt model that proves right, the richest guess first.

    `answer` (N, C) is what the original says of the (N, 3, H, W) tiles.

    Raises:
        AuthoringError: none does.
    """
    view = GraphView(original.model)
    expected = as_probabilities(answer, kind)
    half = _is_half(original, view)
    reasons: list[str] = []
    refused = ""
    for tensor, linear, logarithm in _guesses(view, original.output, kind):
        plan = Plan(tensor, answer.shape[1], logarithm, linear, (size[0], size[1]))
        rebuilt = rebuild(original.model, original.form, plan)
        try:
            proof = prove(rebuilt, linear, prepared, expected, half)
        except Disproved as disproof:
            refused = str(disproof)
            if linear is not None:
                reasons.append(f"{linear.operator} looks like the last layer, but {refused}")
            continue
        if linear is None and not reasons:
            reasons.append("no linear layer stands before the logits")
        return Found(rebuilt, linear, logarithm, proof, () if linear else tuple(reasons))
    if original.form.batch is not None:
        raise refused(
            f"it was exported for batches of exactly {original.form.batch}; with another length "
            f"{refused}",
            "export with a dynamic batch: torch.onnx.export(..., dynamic_axes={'input': {0: 'n'}}),"
            " or dynamic_shapes with dynamo=True",
        )
    hint = "export it in evaluation mode: torch: model.eval()" if "batch" in refused else ""
    raise refused(f"with logits as output, {refused}", hint)


def _guesses(
    view: GraphView, output: str, kind: Answer
) -> Iterator[tuple[str, Linear | None, bool]]:
    """Tensor with the logits, linear layer before it, whether its logarithm is to be taken."""
    if kind == "probabilities":
        yield output, None, True
        return
    logits = find_ending(view, output).logits if kind != "logits" else output
    linear = find_linear(view, logits)
    if linear is not None:
        yield logits, linear, False
    yield logits, None, False
    if kind == "softmax":
        yield output, None, True
    elif kind == "log_softmax":
        yield output, None, False


def _is_half(original: Original, view: GraphView) -> bool:
    ending = find_ending(view, original.output)
    kinds = {entry.name: entry.type for entry in original.runner.outputs}
    return view.element_type(ending.logits) in _HALF or kinds[original.output] == "tensor(float16)"


def refused(message: str, hint: str = "") -> AuthoringError:
    """One thing about the model that cannot be helped here."""
    return AuthoringError("the model cannot become a bundle", [Problem(message, hint)])
