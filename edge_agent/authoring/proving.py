"""Does the rebuilt model say what the original says? Both are run; nothing is taken on trust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from edge_agent.authoring.ending import Linear
from edge_agent.authoring.running import (
    HALF_STEP,
    TOLERANCE,
    Floats,
    Runner,
    head_allowance,
    softmax,
)
from edge_agent.authoring.surgery import Rebuilt
from edge_agent.inference.network import FAILURES

Answer = Literal["logits", "softmax", "log_softmax", "probabilities"]

_BATCH: Final = 16


class Disproved(Exception):  # noqa: N818 - not an error of anybody's, the next guess is tried
    """The rebuilt model differs; `args[0]` says how."""


@dataclass(frozen=True, slots=True)
class Proof:
    """How far the rebuilt model was from the original on some tiles."""

    tiles: int
    difference: float
    """Of a probability, the largest."""
    head_difference: float | None
    """Of a logit from embedding @ weight.T + bias, the largest."""


def one_by_one(original: Runner, output: str, prepared: npt.NDArray[np.float32]) -> Floats:
    """What the original says of each tile alone, or padded to its fixed batch: (N, ...)."""
    step = original.form().batch or 1
    parts = [
        original.run(prepared[start : start + step], [output])[0]
        for start in range(0, len(prepared), step)
    ]
    return np.concatenate(parts)


def sums_to_one(rows: Floats) -> bool:
    """Whether all rows look like probabilities."""
    return bool(
        rows.shape[1] > 1 and (rows >= 0).all() and (np.abs(rows.sum(axis=1) - 1) < 1e-3).all()
    )


def as_probabilities(answer: Floats, kind: Answer) -> Floats:
    """(N, C) probabilities of what a model says."""
    if kind in ("softmax", "probabilities"):
        return answer
    return softmax(answer)


def leeway(expected: Floats, rounds_itself: bool) -> Floats:
    """(N, C) largest differences of probabilities that are still the same.

    rounds_itself: the model's own softmax is in float16, whose rounding is none of ours.
    """
    return np.asarray(TOLERANCE + (HALF_STEP if rounds_itself else 0.0) * expected)


def prove(
    rebuilt: Rebuilt,
    linear: Linear | None,
    prepared: npt.NDArray[np.float32],
    expected: Floats,
    allowed: Floats,
    half: bool,
) -> Proof:
    """Compare on (N, 3, H, W) tiles whose (N, C) probabilities the original gave.

    half: the embedding is float16, so that the layer's sum is rounded more coarsely.

    Raises:
        Disproved: it cannot be run or differs by more than `allowed`.
    """
    names = [rebuilt.logits] + ([rebuilt.embedding] if rebuilt.embedding else [])
    try:
        runner = Runner(rebuilt.model.SerializeToString(deterministic=True))
        together = _in_batches(runner, prepared, names, _BATCH)
        alone = _in_batches(runner, prepared[:4], names, 1)
    except FAILURES as error:
        raise Disproved(f"it does not run: {_first_line(error)}") from error
    logits = together[0]
    if logits.shape != expected.shape:
        raise Disproved(f"logits of {len(expected)} tiles have shape {logits.shape}")
    if not np.isfinite(logits).all():
        raise Disproved("its logits are not finite")
    apart = np.abs(softmax(alone[0]) - softmax(logits[: len(alone[0])]))
    if not (apart <= allowed[: len(apart)]).all():
        raise Disproved(
            f"what it says of a tile depends on the others in its batch (by {apart.max():.2g})"
        )
    differences = np.abs(softmax(logits) - expected)
    if not (differences <= allowed).all():
        raise Disproved(f"its probabilities differ by {differences.max():.2g}")
    head = None if linear is None else _head_difference(linear, logits, together[1], half)
    return Proof(len(prepared), float(differences.max()), head)


def _in_batches(
    runner: Runner, prepared: npt.NDArray[np.float32], names: list[str], length: int
) -> list[Floats]:
    parts = [
        runner.run(prepared[start : start + length], names)
        for start in range(0, len(prepared), length)
    ]
    return [np.concatenate([part[index] for part in parts]) for index in range(len(names))]


def _head_difference(linear: Linear, logits: Floats, embedding: Floats, half: bool) -> float:
    if embedding.shape != (len(logits), linear.weight.shape[1]):
        raise Disproved(f"its embedding of {len(logits)} tiles has shape {embedding.shape}")
    if not np.isfinite(embedding).all():
        raise Disproved("its embedding is not finite")
    # As a bundle keeps them.
    weight = linear.weight.astype(np.float32).astype(np.float64)
    bias = linear.bias.astype(np.float32).astype(np.float64)
    if weight.shape[0] != logits.shape[1]:
        raise Disproved(f"its last layer has {weight.shape[0]} rows")
    differences = np.abs(logits - (embedding @ weight.T + bias))
    if not (differences <= head_allowance(embedding, weight, bias, half)).all():
        raise Disproved(f"its logits differ from the last layer's by {differences.max():.2g}")
    return float(differences.max())


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
