"""Running a model, original or rebuilt, on tiles prepared as a bundle prepares them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

Floats = npt.NDArray[np.float64]

TOLERANCE: Final = 1e-5
"""Largest difference of a probability."""
HALF_STEP: Final = 2.0**-10
"""float16 rounds to 11 binary digits: what a softmax in float16 itself loses, relative."""

_NUMPY: Final = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


@dataclass(frozen=True, slots=True)
class InputForm:
    """What a model's only input takes."""

    name: str
    kind: str
    """onnxruntime's word, such as tensor(float)."""
    batch: int | None
    """The fixed number of tiles, None where any number goes."""
    channels_last: bool
    size: tuple[int | None, int | None]
    """Height and width, None where any goes."""


class Runner:
    """A model in onnxruntime on the CPU, with the optimisations a device applies too."""

    def __init__(self, model: bytes | os.PathLike[str]) -> None:
        """Load it; raises one of FAILURES."""
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        source = model if isinstance(model, bytes) else os.fspath(model)
        self.session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.inputs: list[Any] = self.session.get_inputs()
        self.outputs: list[Any] = self.session.get_outputs()

    def form(self) -> InputForm:
        """Of the first input, which must have four dimensions."""
        entry = self.inputs[0]
        dimensions = [size if isinstance(size, int) else None for size in entry.shape]
        last = dimensions[1] != 3 and dimensions[3] == 3
        height, width = dimensions[1:3] if last else dimensions[2:]
        return InputForm(entry.name, entry.type, dimensions[0], last, (height, width))

    def run(self, prepared: npt.NDArray[np.float32], names: list[str]) -> list[Floats]:
        """Outputs by name for (N, 3, H, W) tiles, in the model's own type and batch length.

        Raises one of FAILURES.
        """
        form = self.form()
        given = prepared.astype(_NUMPY[form.kind])
        if form.channels_last:
            given = np.ascontiguousarray(given.transpose(0, 2, 3, 1))
        length = form.batch or len(given)
        parts: list[list[npt.NDArray[Any]]] = []
        for start in range(0, len(given), length):
            part = given[start : start + length]
            missing = length - len(part)
            if missing:
                part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            results = self.session.run(names, {form.name: part})
            parts.append([np.asarray(r)[: len(r) - missing] if missing else r for r in results])
        return [
            np.concatenate([part[index] for part in parts]).astype(np.float64)
            for index in range(len(names))
        ]


def softmax(logits: Floats) -> Floats:
    """(N, C) probabilities; a class at -inf gets 0."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def head_allowance(embedding: Floats, weight: Floats, bias: Floats, half: bool) -> Floats:
    """How far logits may be from embedding @ weight.T + bias for the rounding of their sum."""
    unit = 4.0 * HALF_STEP if half else TOLERANCE
    return np.asarray(unit * (np.abs(embedding) @ np.abs(weight).T + np.abs(bias) + 1e-3))
