"""From the richest guess at a model's ending to the first one that proves right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from edge_agent.authoring.ending import Linear, find_ending, find_linear
from edge_agent.authoring.errors import AuthoringError
from edge_agent.authoring.graph import GraphView, attribute
from edge_agent.authoring.proving import (
    Answer,
    Disproved,
    Proof,
    as_probabilities,
    leeway,
    one_by_one,
    prove,
)
from edge_agent.authoring.running import HALF_STEP, TOLERANCE, Floats, InputForm, Runner
from edge_agent.authoring.surgery import Plan, Rebuilt, rebuild
from edge_agent.authoring.widening import widened
from edge_agent.inference.network import FAILURES
from operations.errors import Problem

_HALF: Final = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
COARSE: Final = 4 * HALF_STEP
"""How far a probability of a float16 model may move by another rounding of its logits."""


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
    trial = _Trial(
        original, (size[0], size[1]), prepared, as_probabilities(answer, kind), kind,
        _is_half(original.model),
    )  # fmt: skip
    reasons: list[str] = []
    why = ""
    for guess in _guesses(view, original.output, kind, trial.half):
        try:
            rebuilt, proof = trial.of(guess)
        except Disproved as disproof:
            why = str(disproof)
            if guess.linear is not None:
                reasons = [f"{guess.linear.operator} looks like the last layer, but {why}"]
            continue
        if guess.linear is not None:
            reasons = []
        elif not reasons:
            reasons = ["no linear layer stands before the logits"]
        if guess.coarse:
            reasons.append(
                f"float16 rounds differently with its embedding exposed: probabilities move by "
                f"{proof.difference:.1e}, in float32 by less than {TOLERANCE:.0e}"
            )
        return Found(rebuilt, guess.linear, guess.logarithm, proof, tuple(reasons))
    raise _nothing_held(original.form.batch, why)


def _nothing_held(batch: int | None, why: str) -> AuthoringError:
    if batch is not None:
        return refused(
            f"it was exported for batches of exactly {batch}; with another length {why}",
            "export with a dynamic batch: torch.onnx.export(..., dynamic_axes={'input': {0: 'n'}}),"
            " or dynamic_shapes with dynamo=True",
        )
    hint = "export it in evaluation mode: torch: model.eval()" if "batch" in why else ""
    return refused(f"with logits as output, {why}", hint)


@dataclass(frozen=True, slots=True)
class _Guess:
    tensor: str
    """Holds the logits, or probabilities ..."""
    logarithm: bool = False
    """... whose logarithm is to be taken."""
    linear: Linear | None = None
    rounded: bool = False
    """To float16, as an output in float16 is."""
    coarse: bool = False
    """Closely the same only in float32."""


def _guesses(view: GraphView, output: str, kind: Answer, half: bool) -> Iterator[_Guess]:
    """The richest first."""
    if kind == "probabilities":
        yield _Guess(output, logarithm=True)
        return
    logits = find_ending(view, output).logits if kind != "logits" else output
    linear = find_linear(view, logits)
    for layer in (linear, None) if linear is not None else (None,):
        yield _Guess(logits, linear=layer)
        if half:
            yield _Guess(logits, linear=layer, rounded=True)
            yield _Guess(logits, linear=layer, coarse=True, rounded=kind == "logits")
    if kind == "softmax":
        yield _Guess(output, logarithm=True)
    elif kind == "log_softmax":
        yield _Guess(output)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What rebuilt models are held against."""

    original: Original
    size: tuple[int, int]
    prepared: npt.NDArray[np.float32]
    expected: Floats
    kind: Answer
    half: bool

    def of(self, guess: _Guess) -> tuple[Rebuilt, Proof]:
        """The model that a guess leads to, proved, or raise Disproved."""
        classes = self.expected.shape[1]
        plan = Plan(guess.tensor, classes, guess.logarithm, guess.linear, self.size, guess.rounded)
        rebuilt = rebuild(self.original.model, self.original.form, plan)
        prove_it = self.prove_coarsely if guess.coarse else self.prove
        return rebuilt, prove_it(rebuilt, guess.linear)

    def prove(self, rebuilt: Rebuilt, linear: Linear | None) -> Proof:
        """To 1e-5, or raise Disproved."""
        rounds_itself = self.half and self.kind in ("softmax", "probabilities")
        allowed = leeway(self.expected, rounds_itself)
        return prove(rebuilt, linear, self.prepared, self.expected, allowed, self.half)

    def prove_coarsely(self, rebuilt: Rebuilt, linear: Linear | None) -> Proof:
        """To 1e-5 with all weights in float32, and as they are to float16's last digits.

        Raises Disproved.
        """
        try:
            wide = Runner(widened(self.original.model).SerializeToString())
            answer = one_by_one(wide, self.original.output, self.prepared)
        except FAILURES as error:
            raise Disproved("it does not run in float32") from error
        expected = as_probabilities(answer.reshape(self.expected.shape), self.kind)
        same = replace(rebuilt, model=widened(rebuilt.model))
        prove(same, linear, self.prepared, expected, leeway(expected, False), half=False)
        allowed = np.full_like(self.expected, COARSE)
        return prove(rebuilt, linear, self.prepared, self.expected, allowed, half=True)


def _is_half(model: onnx.ModelProto) -> bool:
    """Whether some of it is computed in less than float32."""
    if any(tensor.data_type in _HALF for tensor in model.graph.initializer):
        return True
    return any(
        node.op_type == "Cast" and attribute(node, "to", 0) in _HALF for node in model.graph.node
    )


def refused(message: str, hint: str = "") -> AuthoringError:
    """One thing about the model that cannot be helped here."""
    return AuthoringError("the model cannot become a bundle", [Problem(message, hint)])
