"""The plots of the reports; each is one panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from edge_agent.evaluation.metrics import rank, roc_curve
from edge_agent.reports.drawing import ACCENT, BAR, CARD, FLAG, INK, LINE, MUTED, drawing
from edge_agent.scoring.temperature import Reliability

Floats = npt.NDArray[np.float64]

_BINS = 28
_EDGES = (0.5, 99.5)
"""Percentiles beyond which scores go into the outermost bins."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One ranking in a panel of ROC curves."""

    name: str
    familiar: Floats
    ood: Floats
    strong: bool
    """Drawn to be seen; the others are the background."""


def histogram(name: str, familiar: Floats, ood: Floats | None = None) -> str:
    """Shares of familiar tiles, and of OOD tiles, by score."""
    sides = [familiar] if ood is None else [familiar, ood]
    alt = f"Histogram of {name}: " + _medians(familiar, ood)
    with drawing(alt) as panel:
        axes = panel.axes
        axes.set_title(name)
        edges = _bin_edges(np.concatenate(sides))
        for values, filled in zip(sides, (True, False), strict=False):
            if not len(values):
                continue
            shares = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
            if filled:
                axes.stairs(shares, edges, fill=True, color=BAR, label="familiar")
            else:
                axes.stairs(shares, edges, color=FLAG, linewidth=1.8, label="OOD")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("score, higher = stranger")
        if ood is not None:
            above = {"bbox_to_anchor": (1.0, 0.98), "ncols": 2, "borderaxespad": 0.0}
            axes.legend(loc="lower right", **above)
    return panel.svg


def roc(title: str, curves: Sequence[Curve]) -> str:
    """ROC curves, OOD the positive class."""
    told = ", ".join(curve.name for curve in curves if curve.strong)
    with drawing(f"ROC curves of {title}, with {told} drawn strongest") as panel:
        axes = panel.axes
        axes.set_title(title)
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.0)
        axes.axhline(0.95, color=LINE, linewidth=1.0, linestyle=(0, (3, 3)))
        for curve in sorted(curves, key=lambda one: one.strong):
            x, y = roc_curve(rank(curve.familiar, curve.ood))
            if curve.strong:
                axes.plot(x, y, color=ACCENT, linewidth=2.2, label=curve.name)
            else:
                axes.plot(x, y, color=BAR, linewidth=0.9, alpha=0.8)
        if any(not curve.strong for curve in curves):
            axes.plot([], [], color=BAR, linewidth=0.9, label="each single score")
        frame_roc(axes, "OOD tiles found")
        axes.text(1.015, 0.95, "95 %", ha="left", va="center", fontsize=8)
        axes.legend(loc="lower right")
    return panel.svg


def frame_roc(axes: Axes, found: str) -> None:
    """Limits, names and percents of the axes of ROC curves."""
    axes.set_xlim(-0.01, 1.0)
    axes.set_ylim(0.0, 1.01)
    axes.set_xlabel("familiar tiles harvested")
    axes.set_ylabel(found)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def uniformity(p_values: Mapping[str, Floats], strong: str) -> str:
    """Share of familiar tiles at or below each p: on or under the diagonal is as promised."""
    with drawing("Share of familiar tiles with a p-value at or below p, against p", 4.6) as panel:
        axes = panel.axes
        axes.set_title("familiar tiles with p at or below")
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, label="as promised")
        for name, values in sorted(p_values.items(), key=lambda item: item[0] == strong):
            ordered = np.sort(values[np.isfinite(values)])
            if not len(ordered):
                continue
            x = np.concatenate([[0.0], ordered, [1.0]])
            y = np.concatenate([[0.0], np.arange(1, len(ordered) + 1) / len(ordered), [1.0]])
            if name == strong:
                axes.step(x, y, where="post", color=ACCENT, linewidth=2.2, label=name)
            else:
                axes.step(x, y, where="post", color=BAR, linewidth=0.8, alpha=0.7)
        if len(p_values) > 1:
            axes.plot([], [], color=BAR, linewidth=0.8, label="each single score")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.01)
        axes.set_xlabel("p")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(loc="lower right")
    return panel.svg


def reliability_diagram(before: Reliability, after: Reliability) -> str:
    """Accuracy by confidence, as the model says it and tempered; larger dots are more tiles."""
    told = "Accuracy against confidence, before and after temperature scaling"
    with drawing(told, 4.6) as panel:
        axes = panel.axes
        axes.set_title("how often the model is right, by how sure it is")
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, label="as sure as right")
        most = max(int(before.count.max()), int(after.count.max()), 1)
        for bins, colour, face, name in (
            (before, FLAG, CARD, "as it says"),
            (after, ACCENT, ACCENT, "tempered"),
        ):
            filled = bins.count > 0
            axes.plot(bins.confidence[filled], bins.accuracy[filled], color=colour, linewidth=1.2)
            axes.scatter(
                bins.confidence[filled],
                bins.accuracy[filled],
                s=14 + 120 * bins.count[filled] / most,
                facecolor=face,
                edgecolor=colour,
                linewidth=1.4,
                zorder=3,
                label=name,
            )
        axes.set_xlim(0, 1.03)
        axes.set_ylim(-0.03, 1.05)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy", color=INK)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(loc="upper left", markerscale=0.7)
    return panel.svg


def _bin_edges(values: Floats) -> Floats:
    """Bins over nearly all of the scores; a constant score gets a bin of its own."""
    if not len(values):
        return np.array([0.0, 1.0])
    low, high = (float(edge) for edge in np.percentile(values, _EDGES))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        room = max(abs(low), 1.0) * 0.5
        low, high = low - room, high + room
    return np.linspace(low, high, _BINS + 1)


def _medians(familiar: Floats, ood: Floats | None) -> str:
    def told(values: Floats) -> str:
        return f"{np.median(values):.3g}" if len(values) else "none"

    beside = "" if ood is None else f", of OOD tiles {told(ood)}"
    return f"median of familiar tiles {told(familiar)}{beside}"
