"""MODEL_CARD.md of an ensemble of bundles."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.inference.bundle import BundleDescription


def joined_card(whole: BundleDescription, parts: Sequence[BundleDescription], head: bool) -> str:
    """The card's text; `parts` are the members' bundles in their order."""
    height, width = whole.input.size
    layer = "those of all members side by side, divided by their number (`head.npz`)"
    lines = [
        f"# {whole.name} {whole.version}",
        "",
        f"An ensemble of {len(parts)} bundles, made by `edge-agent bundle join`.",
        "",
        "| member | of bundle | SHA-256 |",
        "|---|---|---|",
        *(
            f"| `{member.file}` | {part.name} {part.version} | `{member.sha256}` |"
            for member, part in zip(whole.members, parts, strict=True)
        ),
        "",
        f"- Input: {height} x {width} px {whole.input.colour} tiles at {whole.input.gsd_m:g} m,",
        f"  (pixel - {list(whole.input.mean)}) / {list(whole.input.scale)}.",
        f"- {len(whole.labels)} classes: {', '.join(whole.labels)}.",
        "- Probabilities: the mean of the members'.",
        f"- Weights of the last layer: {layer if head else 'not known'}.",
        f"- Training data: {whole.provenance.training_data}. Licence: {whole.provenance.licence}.",
        "",
        "## Accuracy",
        "",
        "Not measured here. `edge-agent evaluate` measures it on labelled tiles of your own.",
    ]
    return "\n".join(lines) + "\n"
