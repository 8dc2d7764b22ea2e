"""A bundle's description as the text of `bundle.toml`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from edge_agent.inference.bundle import BundleDescription, ModelFile


def bundle_toml(description: BundleDescription) -> str:
    """The file's text; read again, it is the same description."""
    given, output, provenance = description.input, description.output, description.provenance
    lines = [
        f"name = {_text(description.name)}",
        f"version = {_text(description.version)}",
        f"task = {_text(description.task)}",
        "labels = [",
        *(f"  {_text(label)}," for label in description.labels),
        "]",
        *([] if description.model is None else _network("[model]", description.model)),
        *(line for member in description.members for line in _network("[[members]]", member)),
        "",
        "[input]",
        f"name = {_text(given.name)}",
        f"size = {list(given.size)}",
        f"colour = {_text(given.colour)}",
        f"mean = {_numbers(given.mean)}",
        f"scale = {_numbers(given.scale)}",
        f"gsd_m = {float(given.gsd_m)}",
        "",
        "[output]",
        f"logits = {_text(output.logits)}",
        *([] if output.embedding is None else [f"embedding = {_text(output.embedding)}"]),
        "",
        "[provenance]",
        f"training_data = {_text(provenance.training_data)}",
        f"licence = {_text(provenance.licence)}",
    ]
    return "\n".join(lines) + "\n"


def _network(heading: str, network: ModelFile) -> list[str]:
    return ["", heading, f"file = {_text(network.file)}", f'sha256 = "{network.sha256}"']


def _text(value: str) -> str:
    # A JSON string is a TOML basic string once the delete character is escaped too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(repr(float(value)) for value in values)}]"
