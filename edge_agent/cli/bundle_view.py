"""A bundle's facts on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from edge_agent.authoring.checking import Examined
from edge_agent.authoring.facts import facts
from edge_agent.cli.records_view import size
from edge_agent.inference.bundle import BundleError


def refuse(examined: Examined) -> None:
    """Raises BundleError if anything is wrong with the bundle."""
    if examined.problems:
        raise BundleError(f"bundle {examined.folder} cannot be used", examined.problems)


def known_facts(examined: Examined) -> dict[str, Any]:
    """What there is to know of a bundle. Raises BundleError where it has no description."""
    if examined.description is None:
        raise BundleError(f"bundle {examined.folder} cannot be used", examined.problems)
    return facts(examined, examined.description)


def show_facts(found: dict[str, Any]) -> None:
    """The facts for people."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(found["id"], style="bold"))
    for heading, text in _lines(found):
        console.print(Text(f"{heading:10} {text}"))


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    given, output, labels = found["input"], found["output"], found["labels"]
    height, width = given["size"]
    pixels = f"{given['name']}: {height} x {width} px {given['colour']} at {given['gsd_m']:g} m"
    scaling = f"mean {_numbers(given['mean'])}, scale {_numbers(given['scale'])}"
    outputs = f"{output['logits']} ({len(labels)})"
    if output["embedding_values"]:
        outputs += f", {output['embedding']} ({output['embedding_values']})"
    provenance = found["provenance"]
    return [
        ("labels", f"{len(labels)}: {', '.join(labels)}"),
        ("input", f"{pixels} per pixel; {scaling}"),
        *(("model", f"{each['file']}, {size(each['bytes'])}") for each in found["members"]),
        ("outputs", outputs),
        ("last layer", f"in {found['head']}" if found["head"] else "not known"),
        ("calibrated", _calibrated(found["calibration"])),
        ("scores", ", ".join(found["scores"])),
        *(("", f"no {score}: needs {lack}") for score, lack in found["lacking"].items()),
        *(("note", note) for note in found["notes"]),
        ("trained on", provenance["training_data"]),
        ("licence", provenance["licence"]),
    ]


def _calibrated(calibration: dict[str, Any] | None) -> str:
    if calibration is None:
        return "no: scores have no p-values"
    fused = ", ".join(calibration["fused"]) or "nothing"
    return (
        f"on {calibration['tiles']} tiles, {size(calibration['bytes'])}; fused: {fused}; "
        f"smallest p {calibration['smallest_p']:.2g}"
    )


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
