"""Templates -> a page: one file of HTML that asks the network for nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from edge_agent.domain import Pixels
from edge_agent.evaluation.intervals import Estimate, Share

_THUMBNAIL: Final = 160
_QUALITY: Final = 82
_NOTHING: Final = "–"


def render(template: str, **given: Any) -> str:
    """The page of a template."""
    style = files("edge_agent.reports").joinpath("templates/style.css").read_text("utf-8")
    return (
        _environment()
        .get_template(template)
        .render(style=style, version=version("tilesift"), **given)
    )


def thumbnail(pixels: Pixels) -> str:
    """A JPEG as a data URI; tiles that are large are made smaller."""
    image = Image.fromarray(pixels)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def number(value: float | None) -> str:
    """Three decimals."""
    return _NOTHING if value is None else f"{value:.3f}"


def spread(estimate: Estimate | None) -> str:
    """An estimate's interval, empty without one."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A share as a percentage."""
    return _NOTHING if value is None else f"{100 * value:.{decimals}f}\N{NO-BREAK SPACE}%"


def between(share: Share) -> str:
    """A share's interval."""
    return f"{100 * share.low:.1f} to {100 * share.high:.1f} %"


def sort_first(names: Iterable[str], first: str) -> list[str]:
    """The names in their order, but for one that goes before all."""
    return sorted(names, key=lambda name: name != first)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("edge_agent.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "spread": spread,
        "percent": percent,
        "between": between,
        "sort_first": sort_first,
    }
    return environment
