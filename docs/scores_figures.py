"""The page's pictures: SVG files that follow the reader's light or dark, and one sheet of tiles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image, ImageDraw, ImageFont
from scores_measures import Floats, Scenes, pooled
from scores_surveys import Surprise, Survey

from edge_agent.evaluation.evaluating import Opinion
from edge_agent.evaluation.looking import Seen
from edge_agent.evaluation.metrics import auroc, rank, roc_curve
from edge_agent.reports.drawing import ACCENT, BAR, FLAG, INK, LINE, MUTED, drawing
from edge_agent.reports.plots import frame_roc, uniformity
from edge_agent.scoring.calibration import OOD

LIGHT: Final = {
    "ink": "#1d2421", "muted": "#5a645f", "line": "#dedcd4", "accent": "#1b6350",
    "flag": "#b0560a", "bar": "#8fb3a5", "card": "#ffffff",
}  # fmt: skip
DARK: Final = {
    "ink": "#e6ebe7", "muted": "#9aa69f", "line": "#2c332f", "accent": "#7cc9b0",
    "flag": "#e9b872", "bar": "#4c7f6e", "card": "#1a1f1c",
}  # fmt: skip
ENLARGED: Final = 1.5
COARSE: Final = np.linspace(0.0, 1.0, 61)
BINS: Final = np.linspace(0.0, 1.0, 21)
SIDE: Final = 120
GAP: Final = 8
CAPTION: Final = 30
ACROSS: Final = 6


def draw_scenes(measured: Scenes, folder: Path) -> None:
    """ROC curves near and far, p-values of familiar and strange tiles, and whether they hold."""
    ours = [measured.found.familiar]
    for name, strangers in (("near", measured.near), ("far", measured.far)):
        _write(folder / f"roc-{name}.svg", _roc(name, ours, strangers))
    _write(folder / "p-values.svg", _p_values(ours, measured.near, measured.far))
    own = {name: pooled(ours, name, p=True) for name in ours[0].scored.p_values}
    _write(folder / "promise.svg", uniformity(own, OOD))


def draw_evidence(found: Sequence[Survey], folder: Path) -> None:
    """The drift test's capital over the tiles of the surveys, the familiar one first."""
    told = ", ".join(
        f"{one.name} {'never alarms' if one.alarm is None else f'alarms at {one.alarm.tiles}'}"
        for one in found
    )
    with drawing(f"Evidence that a survey is foreign, over its tiles: {told}", 6.0) as panel:
        axes = panel.axes
        axes.set_title("evidence that the whole survey is foreign")
        for one, colour in zip(found, (ACCENT, FLAG), strict=True):
            tens = one.evidence / np.log(10)
            turns = np.flatnonzero(np.diff(tens, prepend=np.nan, append=np.nan) != 0)
            x = np.append(turns + 1, len(tens))
            y = np.append(tens[np.minimum(turns, len(tens) - 1)], tens[-1])
            axes.step(x, y, where="post", color=colour, linewidth=2.0, label=one.name)
        limit = found[0].limit / np.log(10)
        axes.axhline(limit, color=MUTED, linewidth=1.0, linestyle=(0, (3, 3)))
        axes.text(1.0, limit + 0.1, "alarm", ha="right", transform=axes.get_yaxis_transform())
        axes.axhline(0.0, color=LINE, linewidth=1.0)
        axes.set_xlim(0, None)
        axes.set_xlabel("tiles")
        axes.set_ylabel("capital, powers of ten")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper right")
    _write(folder / "drift.svg", panel.svg)


def draw_surprises(seen: Seen, found: Sequence[Surprise], folder: Path) -> None:
    """A sheet of the strangest tiles, each with its p-value and what is planted there."""
    down = -(-len(found) // ACROSS)
    step, row = SIDE + GAP, SIDE + CAPTION + GAP
    sheet = Image.new("RGB", (ACROSS * step + GAP, down * row + GAP), LIGHT["card"])
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, surprise in enumerate(found):
        left, top = GAP + number % ACROSS * step, GAP + number // ACROSS * row
        tile = Image.fromarray(seen.pixels(surprise.row))
        sheet.paste(tile.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, top))
        told = surprise.novelty or "nothing planted"
        lines = f"{told}\np {surprise.p_value:.4f}, {surprise.guess}?"
        pen.multiline_text((left, top + SIDE + 2), lines, LIGHT["ink"], font, spacing=1)
    sheet.save(folder / "surprising.jpg", quality=80, optimize=True)


def _roc(name: str, ours: Sequence[Opinion], strangers: Sequence[Opinion]) -> str:
    """`ood`, the best single score and the worst one to be seen, the others behind them."""
    sides = {
        score: (pooled(ours, score), pooled(strangers, score)) for score in ours[0].scored.scores
    }
    area = {score: float(auroc(rank(*both).counts())[0]) for score, both in sides.items()}
    singles = sorted((score for score in sides if score != OOD), key=area.__getitem__)
    worst, best = singles[0], singles[-1]
    strong = {
        worst: {"color": MUTED, "linewidth": 1.4, "linestyle": (0, (3, 2))},
        best: {"color": FLAG, "linewidth": 1.6},
        OOD: {"color": ACCENT, "linewidth": 2.4},
    }
    told = ", ".join(f"{score} {area[score]:.3f}" for score in (OOD, best, worst))
    with drawing(f"ROC curves, {name} sets; areas: {told}", 4.4, 3.6) as panel:
        axes = panel.axes
        axes.set_title(f"{name} sets, area under the curve")
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.0)
        for score in [*singles[1:-1], worst, best, OOD]:
            x, y = roc_curve(rank(*sides[score]))
            drawn = strong.get(score, {"color": BAR, "linewidth": 0.8, "alpha": 0.8})
            label = f"{score} {area[score]:.3f}" if score in strong else None
            axes.plot(COARSE, _at(COARSE, x, y), label=label, **drawn)  # type: ignore[arg-type]
        axes.plot([], [], color=BAR, linewidth=0.8, label="other single scores")
        frame_roc(axes, "strange tiles found")
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda one: (one == len(labels) - 1, -one))
        axes.legend([handles[one] for one in order], [labels[one] for one in order],
                    loc="lower right")  # fmt: skip
    return panel.svg


def _at(wanted: Floats, x: Floats, y: Floats) -> Floats:
    """The curve's height at `wanted`: of a vertical piece its top."""
    return np.asarray(y[np.searchsorted(x, wanted, side="right") - 1])


def _p_values(ours: Sequence[Opinion], near: Sequence[Opinion], far: Sequence[Opinion]) -> str:
    with drawing("Histogram of ood p-values of familiar, near and far tiles", 6.0) as panel:
        axes = panel.axes
        axes.set_title("p-values of ood")
        for name, side in (("familiar", ours), ("near", near), ("far", far)):
            values = pooled(side, OOD, p=True)
            # A tile on an edge belongs to the bin below: p <= 0.05 is the first one.
            shares = np.histogram(values - 1e-9, BINS)[0] / len(values)
            if side is ours:
                axes.stairs(shares, BINS, fill=True, color=BAR, label=name)
            else:
                colour = ACCENT if side is near else FLAG
                axes.stairs(shares, BINS, color=colour, linewidth=1.8, label=name)
        level = float(BINS[1])
        dashes = (0, (3, 3))
        axes.axhline(level, color=INK, linewidth=1.0, linestyle=dashes, label="familiar: promised")
        axes.set_xlim(0.0, 1.0)
        axes.set_xlabel("p, small = unusual")
        axes.set_ylabel("tiles")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(loc="upper right")
    return panel.svg


def _write(path: Path, plot: str) -> None:
    """A plot of the reports as a file of its own, with a ground of its own.

    A viewer that knows no light and dark shows it light.
    """
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', plot)
    if found is None:
        raise ValueError(f"{path.name}: a plot without a size")
    width, height = (round(float(side) * ENLARGED) for side in found.groups())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}"'
    )
    style = (
        f"<style>svg {{ {_palette(LIGHT)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ svg {{ {_palette(DARK)} }} }}\n"
        'text { font-family: system-ui, "Segoe UI", "Noto Sans", sans-serif !important; }</style>'
        '<rect width="100%" height="100%" rx="6" style="fill: var(--card)"/>'
    )
    body = re.sub(r"<(?!svg)[^>]+>", _shortened, plot.replace("<svg", head, 1))
    start = body.index(">") + 1
    text = f"{body[:start]}\n{style}{body[start:]}"
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")


def _shortened(tag: re.Match[str]) -> str:
    """A tag whose numbers have two decimals: a hundredth of a pixel is enough."""
    return re.sub(r"(\.\d\d)\d+", r"\1", tag[0])


def _palette(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
