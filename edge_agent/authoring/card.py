"""MODEL_CARD.md of a bundle made of somebody's model: what is known, and what is not."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.authoring.ending import Linear
from edge_agent.authoring.order import BundleOrder
from edge_agent.authoring.proving import Proof
from edge_agent.inference.bundle import InputSpec


def card_text(
    order: BundleOrder,
    labels: Sequence[str],
    given: InputSpec,
    linear: Linear | None,
    proof: Proof,
) -> str:
    """The card's text."""
    height, width = given.size
    layer = "none found; scores are of logits alone"
    if linear is not None:
        layer = f"{linear.operator}, embedding of {linear.weight.shape[1]} values (`head.npz`)"
    lines = [
        f"# {order.bundle_name} {order.version}",
        "",
        f"Made of `{order.model.name}` by `edge-agent bundle create`.",
        "",
        f"- Input: {height} x {width} px {given.colour} tiles at {given.gsd_m:g} m per pixel,",
        f"  (pixel - {list(given.mean)}) / {list(given.scale)}.",
        f"- {len(labels)} classes: {', '.join(labels)}.",
        f"- Last linear layer: {layer}.",
        (
            f"- Probabilities differ from the exported model's by at most "
            f"{proof.difference:.1e} on {proof.tiles} tiles."
        ),
        f"- Training data: {order.training_data}. Licence: {order.licence}.",
        "",
        "## Accuracy",
        "",
        "Not measured here. `edge-agent evaluate` measures it on labelled tiles of your own.",
    ]
    return "\n".join(lines) + "\n"
