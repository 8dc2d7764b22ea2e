"""The card's sections on sites, labels and far imagery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _percents(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"


def _with_interval(value: float, ends: Sequence[float]) -> str:
    return f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


def _sites(crowns: Figures) -> list[str]:
    def listed(part: str) -> str:
        return ", ".join(f"{site} {tiles}" for site, tiles in crowns["sites"][part].items())

    seen = crowns["test_seen"]
    lines = [
        "",
        "## Sites",
        "",
        (
            "The accuracy above is on sites that neither training nor calibration saw. Tiles of a "
            "site resemble each other; with whole sites drawn anew its 95 % interval is "
            f"{_percents(crowns['test_interval_over_sites'])}. On new plots of known sites "
            f"(part test_seen): {_percent(seen['accuracy'])} of {seen['tiles']} "
            f"({_percents(seen['interval_95'])}, Wilson)."
        ),
        "",
        f"- Unseen (test): {listed('test')}",
        f"- Training: {listed('train')}",
        f"- Calibration: {listed('calibration')}",
        f"- Held-out plots of known sites (test_seen): {listed('test_seen')}",
        "",
        "| unseen site | tiles | right |",
        "|---|---:|---:|",
    ]
    for site, figures in crowns["test_by_site"].items():
        lines.append(f"| {site} | {figures['tiles']} | {figures['right']} |")
    sources = "; ".join(
        f"{title}: {figures['right']} of {figures['tiles']}"
        for title, figures in crowns["test_by_source"].items()
    )
    lines += [
        "",
        (
            "Images named by a square kilometre are mostly Dead, those named by a plot mostly "
            "Alive. Right on unseen sites, by that and by label, to see whether the model learned "
            f"the source instead: {sources}."
        ),
    ]
    return lines


def _errors(crowns: Figures) -> list[str]:
    parts = {"unseen sites": "test", "known sites": "test_seen"}
    found = {title: crowns["misclassification"][part] for title, part in parts.items()}
    lines = [
        "",
        "## Does it know when it is wrong?",
        "",
        (
            "AUROC of each score, wrong names against right ones (0.5 = no better than a coin; of "
            "two classes entropy ranks as msp does; ood is the fused score), with 95 % intervals "
            "over sites or plots drawn anew: "
            + "; ".join(f"{f['wrong']} of {f['tiles']} wrong on {t}" for t, f in found.items())
            + "."
        ),
        "",
        f"| score | {' | '.join(found)} |",
        f"|---|{'---|' * len(found)}",
    ]
    for name in next(iter(found.values()))["scores"]:
        cells = [
            _with_interval(f["scores"][name]["auroc"], f["scores"][name]["interval_95"])
            for f in found.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _alarms(crowns: Figures) -> list[str]:
    seen, unseen = (crowns["p_at_most_5_percent"][part] for part in ("test_seen", "test"))
    lines = [
        "",
        "## How often familiar ground alarms",
        "",
        (
            "Share of tiles with p <= 0.05. The 95 % intervals are the wider of Wilson's and of "
            "plots or sites drawn anew. Calibration is on plots that were not trained on, of sites "
            'that were: a small p-value says "unlike the sites I know". The promise of at most 5 % '
            "holds for tiles drawn like the calibration tiles. Plots differ, so even other plots "
            "of known sites keep it only roughly, and unseen sites need not keep it at all: what "
            "is above 5 % there is the shift between sites, seen by the score."
        ),
        "",
        "| score | new plots of known sites | unseen sites |",
        "|---|---|---|",
    ]
    for name in seen:
        cells = [_with_interval(f[name]["share"], f[name]["interval_95"]) for f in (seen, unseen)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _far(crowns: Figures) -> list[str]:
    far = crowns["far"]
    lines = [
        "",
        "## Far imagery",
        "",
        (
            "Crops without tree crowns at 0.1 m against new plots of known sites: AUROC with 95 % "
            "intervals over photos and plots drawn anew, and in brackets the share with "
            "p <= 0.05. Nothing was tuned on these. "
            + "; ".join(f"{title}: {figures['tiles']} crops" for title, figures in far.items())
            + "."
        ),
        "",
        f"| score | {' | '.join(far)} |",
        f"|---|{'---|' * len(far)}",
    ]
    for name in next(iter(far.values()))["scores"]:
        cells = []
        for figures in far.values():
            found = figures["scores"][name]
            share = found["p_at_most_5_percent"]["share"]
            cells.append(
                f"{_with_interval(found['auroc'], found['interval_95'])} [{_percent(share)}]"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _labels(crowns: Figures) -> list[str]:
    found = crowns["labels"]
    return [
        "",
        "## Labels",
        "",
        (
            f"{found['conflicts']} pairs of images say Alive and Dead of one thing, by much the "
            "same ground (half of the smaller image or more, pixel for pixel) or by one file name "
            f"under both labels; their {found['left_out']} images are in no part "
            f"(`conflicts.csv`). Images there twice, left out once: {found['repeats']}. A crop's "
            f"margin may show the neighbour: {found['overlapping_neighbours']} further pairs of "
            "different labels share less ground and stay, on one side of the split. Labels were "
            "not corrected otherwise; some Alive crops look dead, and the reverse."
        ),
    ]


def crown_sections(crowns: Figures) -> str:
    """What the card says beyond the usual; figures as `crown_figures` makes them."""
    sections = (_sites, _errors, _alarms, _far, _labels)
    return "\n".join(line for section in sections for line in section(crowns)) + "\n"
