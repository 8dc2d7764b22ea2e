"""The last linear layer of a model that exposes logits and embedding already; needs onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_agent.authoring.ending import Linear, find_ending, find_linear, same_source
from edge_agent.authoring.errors import AuthoringError
from edge_agent.authoring.graph import GraphView
from edge_agent.authoring.loading import load_model
from edge_agent.authoring.running import Floats
from edge_agent.inference.bundle import Bundle
from edge_agent.inference.ensemble import combine_heads
from edge_agent.inference.head_file import HeadArrays


def find_head(
    model_path: Path, logits: str = "logits", embedding: str = "embedding"
) -> tuple[Floats, Floats] | None:
    """Weight (C, D) and bias (C,) with logits = embedding @ weight.T + bias.

    None where the model has no such outputs, where no linear layer stands between them, or where
    it cannot be read.
    """
    try:
        model = load_model(model_path)
    except AuthoringError:
        return None
    if not {logits, embedding} <= {value.name for value in model.graph.output}:
        return None
    view = GraphView(model)
    if find_ending(view, logits).form != "logits":
        return None
    linear = find_linear(view, logits)
    if linear is None or not _exposed(view, linear, embedding):
        return None
    return linear.weight, linear.bias


def find_bundle_head(bundle: Bundle) -> HeadArrays | None:
    """The layer of a bundle's model, of an ensemble that of all members; None if one has none."""
    output = bundle.description.output
    if output.embedding is None:
        return None
    found = [find_head(path, output.logits, output.embedding) for path in bundle.model_paths]
    heads = [
        HeadArrays(weight.astype(np.float32), bias.astype(np.float32))
        for weight, bias in (head for head in found if head is not None)
    ]
    return combine_heads(heads) if heads and len(heads) == len(found) else None


def _exposed(view: GraphView, linear: Linear, embedding: str) -> bool:
    """Whether that output is what the layer reads."""
    if not linear.transposed and linear.pool is None:
        return same_source(view, linear.tensor, embedding)
    # Behind the layer averages are taken, or it reads (D, N): the embedding was made for it.
    node = view.producer(embedding)
    while node is not None and node.op_type in ("Flatten", "Cast", "Identity"):
        node = view.producer(node.input[0])
    wanted = "Transpose" if linear.pool is None else linear.pool.op_type
    if node is None or node.op_type != wanted:
        return False
    return same_source(view, node.input[0], linear.tensor)
