"""An evaluation as tables on the terminal, 80 columns wide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

from edge_agent.cli.image_sets import told
from edge_agent.evaluation.comparison import ALPHAS, FamiliarFigures, GroupFigures
from edge_agent.evaluation.evaluating import Evaluation
from edge_agent.evaluation.intervals import Estimate, Share
from edge_agent.evaluation.metrics import BUDGETS
from edge_agent.scoring.calibration import OOD

_FOUND: Final = "OOD tiles with p <= 0.02 (the filter's default) / with p <= 0.05"


def show_evaluation(found: Evaluation) -> None:
    """Print it: the familiar tiles, the sets of OOD tiles, and every score on all of them."""
    console = Console(highlight=False, soft_wrap=True)
    ours = found.familiar
    console.print(f"{found.bundle}, {found.calibration_tiles} calibration tiles", markup=False)
    accuracy = "" if ours.accuracy is None else f", accuracy {told(ours.accuracy)}"
    console.print(f"{ours.tiles} familiar tiles{_invalid(ours.invalid)}{accuracy}\n")
    if ours.false_harvest or ours.misclassification:
        console.print(_familiar_table(ours))
    if len(found.groups) > 1:
        console.print()
        console.print(_sets_table(found.groups))
    main = found.groups[-1]
    console.print()
    console.print(_heading(main), markup=False)
    console.print(_scores_table(main))
    console.print()
    share = f"{100 * found.flight_prevalence:g} %"
    console.print(f"the same shares of a flight in which {share} of the tiles are OOD")
    console.print(_flight_table(main))
    console.print()
    _show_notes(console, found, main)


def _show_notes(console: Console, found: Evaluation, main: GroupFigures) -> None:
    console.print(f"FPR95: {found.definitions['fpr95']}", markup=False)
    fused = main.scores.get(OOD)
    console.print(f"intervals {found.definitions['intervals']}", markup=False)
    if fused is not None:
        console.print(
            f"ood fuses {', '.join(found.fused)}. It is {found.definitions['ood']}: "
            f"{_value(fused.auroc_of_p)} {_interval(fused.auroc_of_p)}",
            markup=False,
        )
    for name, lack in found.lacking.items():
        console.print(f"left out {name}: {lack}", markup=False)
    for warning in found.warnings:
        console.print(f"note: {warning}", markup=False)


def _table(first: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _familiar_table(ours: FamiliarFigures) -> Table:
    alphas = [f"{alpha:g}" for alpha in ALPHAS] if ours.false_harvest else []
    wrong = ("wrong/right",) if ours.misclassification else ()
    table = _table("familiar tiles", *(f"p <= {alpha}" for alpha in alphas), *wrong)
    for name in ours.false_harvest or ours.misclassification:
        cells = [_rate(ours.false_harvest[name][alpha]) for alpha in alphas]
        if ours.misclassification:
            cells.append(_value(ours.misclassification.get(name)))
        table.add_row(name, *cells, style=_style(name))
    if ours.misclassification:
        table.caption = "wrong/right: AUROC of wrongly named tiles against rightly named ones"
        table.caption_justify = "left"
    return table


def _sets_table(groups: list[GroupFigures]) -> Table:
    table = _table("OOD set", "tiles", "score", "AUROC", "95 %", "FPR95", "found")
    for group in groups:
        best = max(group.scores, key=lambda name: group.scores[name].figures["auroc"].value or 0.0)
        rows = [OOD, best] if OOD in group.scores and best != OOD else [best]
        kind = "" if group.kind == "ood" or group.kind in group.name else f" ({group.kind})"
        for row, name in enumerate(rows):
            score = group.scores[name]
            figures = score.figures
            table.add_row(
                "" if row else f"{group.name}{kind}",
                "" if row else str(group.tiles),
                name,
                _value(figures["auroc"]),
                _interval(figures["auroc"]),
                _value(figures["fpr95"]),
                _found(score.found),
            )
    table.caption = f"the fused score and the best single one;\nfound: {_FOUND}"
    table.caption_justify = "left"
    return table


def _scores_table(group: GroupFigures) -> Table:
    budgets = [f"{100 * budget:g}" for budget in BUDGETS]
    headings = [f"{budget} %" for budget in budgets]
    table = _table("score", "AUROC", "95 %", "AUPR", "FPR95", *headings, "found")
    for name, score in group.scores.items():
        figures = score.figures
        table.add_row(
            name,
            _value(figures["auroc"]),
            _interval(figures["auroc"]),
            _value(figures["aupr"]),
            _value(figures["fpr95"]),
            *(_value(figures[f"harvest_{budget}"]) for budget in budgets),
            _found(score.found),
            style=_style(name),
        )
    table.caption = (
        f"{', '.join(headings)}: share of OOD tiles among the top so many of all tiles compared;\n"
        f"found: {_FOUND}"
    )
    table.caption_justify = "left"
    return table


def _flight_table(group: GroupFigures) -> Table:
    budgets = [f"{100 * budget:g}" for budget in BUDGETS]
    table = _table("score", *(f"top {budget} %" for budget in budgets))
    for name, score in group.scores.items():
        cells = [score.figures[f"flight_{budget}"] for budget in budgets]
        told_cells = [f"{_value(cell)} {_interval(cell)}".rstrip() for cell in cells]
        table.add_row(name, *told_cells, style=_style(name))
    return table


def _heading(group: GroupFigures) -> str:
    several = f" of {len(group.sets)} sets" if len(group.sets) > 1 else f" of {group.name}"
    share = "" if group.prevalence is None else f"; {100 * group.prevalence:.0f} % of all compared"
    return f"{group.tiles} OOD tiles{several}{_invalid(group.invalid)}{share}"


def _style(name: str) -> str | None:
    return "bold" if name == OOD else None


def _value(estimate: Estimate | None) -> str:
    return "-" if estimate is None or estimate.value is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.2f}..{estimate.high:.2f}"


def _rate(share: Share) -> str:
    if share.value is None:
        return "-"
    return f"{100 * share.value:.1f} % {100 * share.low:.0f}..{100 * share.high:.0f}"


def _found(shares: Mapping[str, Share]) -> str:
    values = [shares[alpha].value for alpha in ("0.02", "0.05") if alpha in shares]
    known = [f"{100 * value:.0f}" for value in values if value is not None]
    return f"{'/'.join(known)} %" if known else ""


def _invalid(count: int) -> str:
    return f" ({count} invalid, in no figure)" if count else ""
