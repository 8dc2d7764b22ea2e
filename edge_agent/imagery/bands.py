"""Which bands of a raster are its colours, and which pixels hold no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_agent.imagery.errors import FrameError

RGB: Final = ("red", "green", "blue")
_HINT = "write the colours to a 3-band file, or state them: gdal_translate -colorinterp_1 red ..."


@dataclass(frozen=True, slots=True)
class Bands:
    """Band numbers from 1, as GDAL counts."""

    colours: tuple[int, ...]
    """Three for red, green, blue; one for grey or palette."""
    palette: bool = False
    alpha: int | None = None
    notes: tuple[str, ...] = ()


def choose_bands(interpretation: Sequence[str]) -> Bands:
    """The bands to show the model, by colour interpretation (GDAL's names, lower case).

    Raises:
        FrameError: no choice is a safe one (`unsupported-bands`).
    """
    alpha = interpretation.index("alpha") + 1 if "alpha" in interpretation else None
    if all(colour in interpretation for colour in RGB):
        return Bands(tuple(interpretation.index(colour) + 1 for colour in RGB), alpha=alpha)
    if "cyan" in interpretation:
        raise FrameError("unsupported-bands", "CMYK raster: convert it to RGB")
    others = [number for number in range(1, len(interpretation) + 1) if number != alpha]
    if not others:
        raise FrameError("unsupported-bands", f"an alpha band and no colours: {_HINT}")
    if len(others) == 1:
        return Bands((others[0],), interpretation[others[0] - 1] == "palette", alpha)
    if len(others) == 2:
        return Bands((others[0],), alpha=alpha, notes=(f"band {others[1]} is not used",))
    if len(interpretation) <= 4:
        first = tuple(others[:3])
        named = ", ".join(map(str, first))
        note = f"colours not stated: bands {named} taken as red, green, blue"
        return Bands(first, alpha=alpha, notes=(note,))
    raise FrameError(
        "unsupported-bands",
        f"{len(interpretation)} bands and none of them says it is red, green or blue: {_HINT}",
    )
