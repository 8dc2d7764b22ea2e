"""What is asked for: a bundle of this model, with these labels and this input."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from operations.errors import Problem

Colour = Literal["RGB", "BGR"]
Triple = tuple[float, float, float]

NORMALISATIONS: Final[Mapping[str, tuple[Triple, Triple]]] = MappingProxyType(
    {
        "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
        "signed": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    }
)
"""Name -> mean and scale in 0..255 units; imagenet's as torchvision's models state them."""
USUAL_GSD_M: Final = 0.1
NOT_STATED: Final = "not stated"


@dataclass(frozen=True, slots=True)
class BundleOrder:
    """All that `bundle create` is told; None is found out or assumed, and then said."""

    model: Path
    labels: Path
    out: Path
    size: tuple[int, int] | None = None
    """Height and width in px."""
    name: str | None = None
    version: str = "1.0.0"
    mean: Triple | None = None
    scale: Triple | None = None
    colour: Colour = "RGB"
    gsd_m: float | None = None
    training_data: str = NOT_STATED
    licence: str = NOT_STATED
    output: str | None = None
    """Of the model, where it has several."""
    images: Path | None = None
    force: bool = False

    @property
    def bundle_name(self) -> str:
        """As given, or made of the model's file name."""
        if self.name is not None:
            return self.name
        return plain_name(self.model.stem) or "model"


def plain_name(text: str) -> str:
    """The text as a bundle's name: small letters, digits and hyphens; empty if none is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64].rstrip("-")


def naming_problems(name: str, version: str) -> Iterator[Problem]:
    """Why a bundle cannot be called so."""
    if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", name) is None:
        hint = "a-z, 0-9 and hyphens, 64 characters at most"
        yield Problem(f"--name {name!r} is not allowed", hint)
    if re.fullmatch(r"[0-9A-Za-z.+-]{1,32}", version) is None:
        hint = "letters, digits, dots, plus and hyphens, 32 characters at most"
        yield Problem(f"--version {version!r} is not allowed", hint)


def order_problems(order: BundleOrder) -> Iterator[Problem]:
    """What `bundle.toml` would not take, told by the flag that it comes from."""
    yield from naming_problems(order.bundle_name, order.version)
    if order.gsd_m is not None and not 0 < order.gsd_m < math.inf:
        yield Problem(f"--gsd {order.gsd_m} is not allowed", "metres per pixel, above 0")
    for flag, triple in (("--mean", order.mean), ("--scale", order.scale)):
        if triple is not None and not all(map(math.isfinite, triple)):
            yield Problem(f"{flag} holds a value that is not finite")
    if order.scale is not None and 0.0 in order.scale:
        yield Problem("--scale holds a 0", "it divides; 1 leaves pixels as they are")


def assumptions(order: BundleOrder) -> Iterator[str]:
    """What was not said and was assumed, in words."""
    if order.mean is None and order.scale is None:
        yield (
            "pixels are divided by 255 and nothing more: if training did otherwise, give "
            "--normalise, or --mean and --scale"
        )
    if NOT_STATED in (order.training_data, order.licence):
        yield "state what it was trained on: --training-data, --licence"
