"""Reading a model's graph backwards: who makes a tensor, and what is constant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import shape_inference

from edge_agent.authoring.running import Runner
from edge_agent.inference.network import FAILURES

_MOST_FOLDED = 64
"""Operators between a weight as stored and as used: more is no weight any more."""
_FOLDABLE = ("", "ai.onnx", "com.microsoft")


class GraphView:
    """A model's main graph, to look at."""

    def __init__(self, model: onnx.ModelProto) -> None:
        try:
            inferred = shape_inference.infer_shapes(model)
        except (shape_inference.InferenceError, RuntimeError):
            inferred = model  # the runtime judges a model; here shapes are a convenience
        self.model = model
        graph = model.graph
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._types = {
            value.name: value.type.tensor_type
            for values in (inferred.graph.value_info, inferred.graph.input, inferred.graph.output)
            for value in values
        }

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The operator that makes a tensor; None for inputs and stored weights."""
        return self._producers.get(name)

    def element_type(self, name: str) -> int:
        """TensorProto's number of the element type, 0 where unknown."""
        return int(self._types[name].elem_type) if name in self._types else 0

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Dimensions, None each where it varies; None where nothing is known."""
        tensor = self._types.get(name)
        if tensor is None or not tensor.HasField("shape"):
            return None
        return tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
        )

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """The value of a tensor that no input has a part in, computed by the runtime itself."""
        if name in self._initializers:
            return _as_array(self._initializers[name])
        nodes = self._ancestors(name)
        if nodes is None:
            return None
        used = {given for node in nodes for given in node.input}
        graph = onnx.GraphProto(name="folded")
        graph.node.extend(nodes)
        graph.initializer.extend(t for n, t in self._initializers.items() if n in used)
        graph.output.append(onnx.ValueInfoProto(name=name))
        if name in self._types:
            graph.output[0].type.tensor_type.CopyFrom(self._types[name])
        folded = onnx.ModelProto(ir_version=max(self.model.ir_version, 4), graph=graph)
        folded.opset_import.extend(self.model.opset_import)
        try:
            return np.asarray(Runner(folded.SerializeToString()).session.run([name], {})[0])
        except FAILURES:
            return None

    def _ancestors(self, name: str) -> Sequence[onnx.NodeProto] | None:
        """Operators that make `name` from stored weights alone, in order; None if there are none
        such."""
        wanted, seen = [name], set[str]()
        while wanted:
            tensor = wanted.pop()
            if not tensor or tensor in self._initializers or tensor in seen:
                continue
            seen.add(tensor)
            node = self._producers.get(tensor)
            if node is None or node.domain not in _FOLDABLE or len(seen) > _MOST_FOLDED:
                return None
            if node.op_type.startswith(("Random", "Multinomial", "Bernoulli")):
                return None
            if any(attribute.HasField("g") for attribute in node.attribute):
                return None
            wanted.extend(node.input)
        return [node for node in self.model.graph.node if seen.intersection(node.output)]


def _as_array(tensor: onnx.TensorProto) -> npt.NDArray[Any]:
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An operator's attribute."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def read_names(nodes: Sequence[onnx.NodeProto]) -> Iterator[str]:
    """Tensors that operators read, those read by graphs inside them included."""
    for node in nodes:
        yield from node.input
        for entry in node.attribute:
            for graph in (*([entry.g] if entry.HasField("g") else []), *entry.graphs):
                yield from read_names(graph.node)
                yield from (output.name for output in graph.output)
