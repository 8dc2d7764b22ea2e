"""Small plots as inline SVG that follows the page: its fonts, and its colours by day and night."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK: Final = "#010101"
MUTED: Final = "#010102"
LINE: Final = "#010103"
ACCENT: Final = "#010104"
FLAG: Final = "#010105"
BAR: Final = "#010106"
CARD: Final = "#010107"
_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    FLAG: "var(--flag)",
    BAR: "var(--bar)",
    CARD: "var(--card)",
}
"""Colours that nobody would draw with stand for the page's own until the drawing is done."""

_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tilesift",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "legend.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


class Drawing:
    """A figure of one panel; `svg` is there once it is done."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.svg = ""


@contextmanager
def drawing(alt: str, width: float = 3.7, height: float = 2.9) -> Iterator[Drawing]:
    """A panel of so many inches; `alt` says in words what it shows."""
    with rc_context(_STYLE):  # type: ignore[arg-type]  # the stubs name every key, a dict does not
        figure = Figure(figsize=(width, height), layout="constrained")
        draft = Drawing(figure.add_subplot())
        yield draft
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    draft.svg = _inline(buffer.getvalue(), alt)


def _inline(text: str, alt: str) -> str:
    """The SVG element alone, named for those who cannot see it."""
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r'(<g) id="[^"]*"', r"\1", body)
    box = re.search(r'viewBox="[^"]*"', body)
    size = box.group(0) if box else ""
    body = re.sub(
        r"<svg[^>]*>",
        f'<svg class="plot" role="img" aria-label="{escape(alt, quote=True)}" {size}>',
        body,
        count=1,
    )
    for sentinel, variable in _VARIABLES.items():
        body = body.replace(sentinel, variable)
    return body
