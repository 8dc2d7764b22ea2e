"""The model rebuilt: one NCHW input of any batch length, logits and embedding out as float32."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_agent.authoring.ending import Linear
from edge_agent.authoring.graph import GraphView, attribute, read_names
from edge_agent.authoring.running import InputForm

BATCH: Final = "batch"
SMALLEST: Final = 2.0**-126
"""Probabilities below the smallest normal float32 count as it: the logarithm stays finite."""
_TENSORS: Final = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(double)": TensorProto.DOUBLE,
    "tensor(uint8)": TensorProto.UINT8,
}


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A model ready for a bundle, and the names of its ends."""

    model: onnx.ModelProto
    input: str
    logits: str
    embedding: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to expose."""

    logits: str
    """A tensor of the model ..."""
    classes: int
    take_logarithm: bool
    """... that holds probabilities and becomes logits by its logarithm."""
    linear: Linear | None
    size: tuple[int, int]
    """Height and width of the input."""
    rounded: bool = False
    """Logits of less than float32 are rounded so before they become float32."""


def rebuild(model: onnx.ModelProto, form: InputForm, plan: Plan) -> Rebuilt:
    """Expose what `plan` says and drop all that nothing exposed depends on."""
    new = onnx.ModelProto()
    new.CopyFrom(model)
    names = _Names(new)
    if form.batch is not None:
        _free_batch(new, form.batch, names)
    source = _rewrite_input(new, form, plan.size, names)
    view = GraphView(new)
    logits = _expose(new, view, plan.logits, _steps_to_logits(plan), plan.classes, "logits", names)
    outputs = [logits]
    embedding = None
    if plan.linear is not None:
        width = plan.linear.weight.shape[1]
        tensor = plan.linear.tensor
        before = _steps_to_embedding(plan.linear)
        embedding = _expose(new, view, tensor, before, width, "embedding", names)
        outputs.append(embedding)
    del new.graph.output[:]
    new.graph.output.extend(value for value, _ in outputs)
    new.graph.node.extend(node for _, nodes in outputs for node in nodes)
    del new.graph.value_info[:]  # stated for the old batch length
    _prune(new.graph)
    new.doc_string = ""
    return Rebuilt(new, source, logits[0].name, None if embedding is None else embedding[0].name)


_Exposed = tuple[onnx.ValueInfoProto, list[onnx.NodeProto]]


class _Names:
    """Names that nothing in the model has yet."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._taken = {value.name for value in (*graph.input, *graph.initializer)}
        self._taken |= set(read_names(graph.node))
        self._taken |= {name for node in graph.node for name in node.output}

    def free(self, wanted: str) -> str:
        """`wanted`, or with the first number that makes it unique."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


def _steps_to_logits(plan: Plan) -> list[onnx.NodeProto]:
    """Operators still without tensor names, each reading the one before."""
    cast = helper.make_node("Cast", [""], [""], to=TensorProto.FLOAT)
    if plan.rounded:
        # Between two casts, onnxruntime would compute in float32 and never round.
        return [helper.make_node("Flatten", [""], [""], axis=1), cast]
    if not plan.take_logarithm:
        return [cast]
    smallest = numpy_helper.from_array(np.array(SMALLEST, np.float32))
    constant = helper.make_node("Constant", [], [""], value=smallest)
    return [cast, constant, helper.make_node("Max", ["", ""], [""]),
            helper.make_node("Log", [""], [""])]  # fmt: skip


def _steps_to_embedding(linear: Linear) -> list[onnx.NodeProto]:
    steps = []
    if linear.transposed:
        steps.append(helper.make_node("Transpose", [""], [""], perm=[1, 0]))
    if linear.pool is not None:
        pool = onnx.NodeProto()
        pool.CopyFrom(linear.pool)
        steps.append(pool)
    return [*steps, helper.make_node("Cast", [""], [""], to=TensorProto.FLOAT)]


def _expose(
    model: onnx.ModelProto, view: GraphView, tensor: str, steps: list[onnx.NodeProto],
    width: int, wanted: str, names: _Names,
) -> _Exposed:  # fmt: skip
    """The output (N, width) float32 and the operators that make it of `tensor`."""
    shape = view.shape(tensor)
    plain = shape is not None and len(shape) == 2
    if view.element_type(tensor) == TensorProto.FLOAT:
        steps = [step for step in steps if step.op_type != "Cast"]
    kinds = {step.op_type for step in steps}
    if not (plain or "Flatten" in kinds) or kinds & {"GlobalAveragePool", "ReduceMean"}:
        steps = [*steps, helper.make_node("Flatten", [""], [""], axis=1)]
    given = {value.name for value in model.graph.input}
    if not steps and tensor == wanted and tensor not in given:
        return helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [BATCH, width]), []
    steps = steps or [helper.make_node("Identity", [""], [""])]
    final = names.free(wanted)
    current, constant = tensor, ""
    for place, step in enumerate(steps):
        last = place == len(steps) - 1
        step.output[0] = final if last else names.free(f"{wanted}_{step.op_type}")
        step.name = names.free(f"expose_{wanted}_{step.op_type}")
        if step.op_type == "Constant":
            constant = step.output[0]
            continue
        step.input[0] = current
        if step.op_type == "Max":
            step.input[1] = constant
        current = step.output[0]
    return helper.make_tensor_value_info(final, TensorProto.FLOAT, [BATCH, width]), steps


def _rewrite_input(
    model: onnx.ModelProto, form: InputForm, size: tuple[int, int], names: _Names
) -> str:
    """Make the input (batch, 3, H, W) float32, or float16 where the model has that; its name.

    A float32 input cast to float16 would not do: onnxruntime leaves the rounding out.
    """
    graph = model.graph
    place = next(i for i, value in enumerate(graph.input) if value.name == form.name)
    kind = _TENSORS[form.kind]
    taken = kind if kind in (TensorProto.FLOAT, TensorProto.FLOAT16) else TensorProto.FLOAT
    direct = kind == taken and not form.channels_last
    name = form.name if direct else names.free("image")
    wanted = helper.make_tensor_value_info(name, taken, [BATCH, 3, *size])
    graph.input[place].CopyFrom(wanted)
    if direct:
        return name
    steps = []
    if form.channels_last:
        last = names.free("image_channels_last")
        steps.append(helper.make_node("Transpose", [name], [last], perm=[0, 2, 3, 1]))
    given = steps[-1].output[0] if steps else name
    steps.append(helper.make_node("Cast", [given], [form.name], to=kind))
    nodes = [*steps, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return name


def _free_batch(model: onnx.ModelProto, batch: int, names: _Names) -> None:
    """Let shapes that were written out for a fixed batch follow the tensor instead.

    Whether nothing else depends on the batch is for a run to show.
    """
    view = GraphView(model)
    for node in model.graph.node:
        if node.op_type != "Reshape" or attribute(node, "allowzero", 0):
            continue
        given, wanted = view.shape(node.input[0]), view.constant(node.input[1])
        if given is None or not given or given[0] != batch or wanted is None or wanted.size == 0:
            continue
        if int(wanted[0]) == batch:
            freed = wanted.copy()
            freed[0] = 0  # as the tensor has it
            name = names.free(f"{node.input[1]}_any_batch")
            model.graph.initializer.append(numpy_helper.from_array(freed, name))
            if model.ir_version < 4:  # there, initializers are inputs too
                shape = helper.make_tensor_value_info(name, TensorProto.INT64, freed.shape)
                model.graph.input.append(shape)
            node.input[1] = name


def _prune(graph: onnx.GraphProto) -> None:
    """Drop operators and weights that no output depends on; the others in an order to run in."""
    producers = {name: node for node in graph.node for name in node.output if name}
    kept: dict[int, onnx.NodeProto] = {}
    started: set[int] = set()
    waiting = [producers[v.name] for v in reversed(graph.output) if v.name in producers]
    needed = {value.name for value in graph.output}
    while waiting:
        node = waiting[-1]
        before = [producers[name] for name in read_names([node]) if name in producers]
        missing = [each for each in before if id(each) not in started and each is not node]
        started.add(id(node))
        if missing:
            waiting.extend(missing)
            continue
        waiting.pop()
        if id(node) not in kept:
            kept[id(node)] = node
            needed.update(read_names([node]))
    weights = {tensor.name for tensor in graph.initializer}
    _keep(graph.node, kept.values())
    _keep(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    _keep(
        graph.input,
        [value for value in graph.input if value.name in needed or value.name not in weights],
    )


def _keep(field: object, kept: Iterable[object]) -> None:
    copies = list(kept)
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]
