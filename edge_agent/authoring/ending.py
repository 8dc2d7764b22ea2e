"""How an exported classifier ends: the tensor with the logits, and the linear layer before it.

Everything found here is only a guess at what the graph means; `proving` runs it and decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from edge_agent.authoring.graph import GraphView, attribute

Floats: TypeAlias = npt.NDArray[np.float64]
Form = Literal["logits", "softmax", "log_softmax", "sigmoid"]

_LONGEST: Final = 64
_SAME_NUMBERS: Final = frozenset(
    {"Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout"}
)
_FLOATING: Final = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
)
_POOLS: Final = frozenset({"GlobalAveragePool", "ReduceMean"})
_FORMS: Final[Mapping[str, Form]] = MappingProxyType(
    {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid",
     "HardSigmoid": "sigmoid"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ending:
    """What the chosen output holds, and the tensor that holds the logits."""

    form: Form
    logits: str


@dataclass(frozen=True, slots=True)
class Linear:
    """logits = embedding @ weight.T + bias."""

    weight: Floats
    """(C, D), all scaling between the layer and the logits included"""
    bias: Floats
    """(C,)"""
    tensor: str
    """What the layer reads."""
    operator: str
    """Its kind and, where it has one, its name: for people."""
    transposed: bool = False
    """The layer reads (D, N)."""
    pool: onnx.NodeProto | None = None
    """Averages behind the layer; averaged before it, the outcome is the same."""


def find_ending(view: GraphView, output: str) -> Ending:
    """Look behind the last softmax, if there is one."""
    name = output
    for _ in range(_LONGEST):
        node = view.producer(name)
        if node is None:
            break
        if node.op_type in _FORMS:
            return Ending(_FORMS[node.op_type], node.input[0])
        if not _passes(node):
            break
        name = node.input[0]
    return Ending("logits", output)


def find_linear(view: GraphView, logits: str) -> Linear | None:
    """Walk back from the logits to the linear layer; None where something else stands there."""
    gain, shift = np.ones(1), np.zeros(1)
    name, pool = logits, None
    for _ in range(_LONGEST):
        node = view.producer(name)
        if node is None:
            return None
        if node.op_type in _LINEAR:
            found = _LINEAR[node.op_type](view, node)
            return None if found is None else _scaled(found, gain, shift, pool)
        if _passes(node):
            name = node.input[0]
        elif node.op_type in _POOLS and pool is None:
            name, pool = node.input[0], node
        else:
            step = _affine(view, node)
            if step is None:
                return None
            name, factor, offset = step
            shift = shift + gain * offset
            gain = gain * factor
            if len(gain) != len(shift) and 1 not in (len(gain), len(shift)):
                return None
    return None


def same_source(view: GraphView, one: str, other: str) -> bool:
    """Whether two tensors hold the same numbers, maybe in another shape or float type."""
    return _source(view, one) == _source(view, other)


def _source(view: GraphView, name: str) -> str:
    for _ in range(_LONGEST):
        node = view.producer(name)
        if node is None or not _passes(node):
            break
        name = node.input[0]
    return name


def _passes(node: onnx.NodeProto) -> bool:
    """Gives on the numbers that it gets."""
    if node.op_type == "Cast":
        return attribute(node, "to", 0) in _FLOATING
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        return False  # may be told to train
    return node.op_type in _SAME_NUMBERS


def _affine(view: GraphView, node: onnx.NodeProto) -> tuple[str, Floats, Floats] | None:
    """node = factor * tensor + offset -> (tensor, factor, offset), each (1,) or (C,)."""
    one, zero = np.ones(1), np.zeros(1)
    if node.op_type == "Neg":
        return node.input[0], -one, zero
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    left, right = node.input
    value, on_left = _values(view, right), False
    if value is None:
        value, on_left = _values(view, left), True
    if value is None:
        return None
    tensor = right if on_left else left
    if node.op_type == "Add":
        return tensor, one, value
    if node.op_type == "Sub":
        return (tensor, -one, value) if on_left else (tensor, one, -value)
    if node.op_type == "Mul":
        return tensor, value, zero
    if on_left or not value.all():
        return None
    return tensor, 1.0 / value, zero


def _values(view: GraphView, name: str) -> Floats | None:
    """A constant that is one number, or one per class."""
    value = view.constant(name)
    if value is None or value.size == 0 or max(value.shape, default=1) != value.size:
        return None
    return np.asarray(value, dtype=np.float64).reshape(-1)


def _gemm(view: GraphView, node: onnx.NodeProto) -> Linear | None:
    stored = view.constant(node.input[1])
    if stored is None or stored.ndim != 2 or view.constant(node.input[0]) is not None:
        return None
    weight = np.asarray(stored, dtype=np.float64)
    weight = weight if attribute(node, "transB", 0) else weight.T
    bias = np.zeros(len(weight))
    if len(node.input) > 2 and node.input[2]:
        added = view.constant(node.input[2])
        if added is None or added.size not in (1, len(weight)):
            return None
        if added.size > 1 and added.shape[-1] != added.size:
            return None  # one number per tile of a fixed batch
        bias = bias + attribute(node, "beta", 1.0) * np.asarray(added, np.float64).reshape(-1)
    transposed = bool(attribute(node, "transA", 0))
    weight = attribute(node, "alpha", 1.0) * weight
    return Linear(weight, bias, node.input[0], _told(node), transposed)


def _matmul(view: GraphView, node: onnx.NodeProto) -> Linear | None:
    stored = view.constant(node.input[1])
    if stored is None or stored.ndim < 2 or stored.size != stored.shape[-1] * stored.shape[-2]:
        return None
    weight = np.asarray(stored, dtype=np.float64).reshape(stored.shape[-2:]).T
    return Linear(weight, np.zeros(len(weight)), node.input[0], _told(node))


def _convolution(view: GraphView, node: onnx.NodeProto) -> Linear | None:
    """A convolution as large as what it reads, most often 1 x 1 behind global pooling."""
    stored = view.constant(node.input[1])
    if stored is None or attribute(node, "group", 1) != 1:
        return None
    weight = np.asarray(stored, dtype=np.float64).reshape(len(stored), -1)
    bias = np.zeros(len(weight))
    if len(node.input) > 2 and node.input[2]:
        added = view.constant(node.input[2])
        if added is None or added.shape != bias.shape:
            return None
        bias = np.asarray(added, dtype=np.float64)
    return Linear(weight, bias, node.input[0], _told(node))


_LINEAR: Final[Mapping[str, Callable[[GraphView, onnx.NodeProto], Linear | None]]] = (
    MappingProxyType({"Gemm": _gemm, "MatMul": _matmul, "Conv": _convolution})
)


def _told(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name}" if node.name else node.op_type


def _scaled(
    found: Linear, gain: Floats, shift: Floats, pool: onnx.NodeProto | None
) -> Linear | None:
    classes = len(found.weight)
    if len(gain) not in (1, classes) or len(shift) not in (1, classes):
        return None
    weight = gain[:, None] * found.weight
    bias = gain * found.bias + shift
    return Linear(weight, bias, found.tensor, found.operator, found.transposed, pool)
