"""An evaluation as tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from edge_agent.cli.image_sets import told
from edge_agent.evaluation.comparison import ALPHAS, FamiliarFigures, GroupFigures
from edge_agent.evaluation.evaluating import Evaluation
from edge_agent.evaluation.intervals import Estimate, Share
from edge_agent.evaluation.metrics import BUDGETS
from edge_agent.scoring.calibration import OOD


def show_evaluation(found: Evaluation) -> None:
    """Print it: the familiar tiles, then a table per set of OOD tiles."""
    console = Console(highlight=False, soft_wrap=True)
    ours = found.familiar
    console.print(f"{found.bundle}, {found.calibration_tiles} calibration tiles", markup=False)
    accuracy = "" if ours.accuracy is None else f", accuracy {told(ours.accuracy)}"
    console.print(f"{ours.tiles} familiar tiles{_invalid(ours.invalid)}{accuracy}\n")
    console.print(_familiar_table(ours))
    for group in found.groups:
        console.print()
        console.print(_heading(group), markup=False)
        console.print(_group_table(group))
    console.print()
    console.print(_legend(found), markup=False)
    if found.fused:
        console.print(f"ood fuses {', '.join(found.fused)}")
    for name, lack in found.lacking.items():
        console.print(f"left out {name}: {lack}", markup=False)
    for warning in found.warnings:
        console.print(f"note: {warning}", markup=False)


def _familiar_table(ours: FamiliarFigures) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("familiar tiles harvested")
    for alpha in ALPHAS:
        table.add_column(f"p <= {alpha:g}", justify="right")
    if ours.misclassification:
        table.add_column("misclassified: AUROC", justify="right")
    names = list(ours.false_harvest) or list(ours.misclassification)
    for name in names:
        cells = [_rate(ours.false_harvest.get(name, {}).get(f"{alpha:g}")) for alpha in ALPHAS]
        if ours.misclassification:
            cells.append(_spread(ours.misclassification.get(name)))
        table.add_row(name, *cells, style="bold" if name == OOD else None)
    return table


def _group_table(group: GroupFigures) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("score")
    headings = ["AUROC", "AUPR", "FPR95"]
    headings += [f"top {100 * budget:g} %" for budget in BUDGETS]
    headings += [f"flight {100 * budget:g} %" for budget in BUDGETS]
    for heading in (*headings, "found p<=.05"):
        table.add_column(heading, justify="right")
    for name, score in group.scores.items():
        figures = score.figures
        cells = [_spread(figures["auroc"])]
        cells += [_number(figures[key]) for key in ("aupr", "fpr95")]
        cells += [_number(figures[f"harvest_{100 * budget:g}"]) for budget in BUDGETS]
        cells += [_number(figures[f"flight_{100 * budget:g}"]) for budget in BUDGETS]
        found = score.found.get("0.05")
        cells.append("" if found is None or found.value is None else f"{found.value:.3f}")
        table.add_row(name, *cells, style="bold" if name == OOD else None)
    return table


def _heading(group: GroupFigures) -> str:
    several = f": {', '.join(group.sets)}" if len(group.sets) > 1 else ""
    kind = "" if group.kind == "ood" or group.kind in group.name else f", {group.kind}"
    share = "" if group.prevalence is None else f", {100 * group.prevalence:.0f} % of all compared"
    return f"{group.name}{kind}{several}, {group.tiles} OOD tiles{_invalid(group.invalid)}{share}"


def _legend(found: Evaluation) -> str:
    lines = [f"FPR95: {found.definitions['fpr95']}"]
    lines.append(f"top: {found.definitions['harvest']}")
    share = f"{100 * found.flight_prevalence:g} %"
    lines.append(f"flight: the same where {share} of the tiles are OOD; at best {share} / budget")
    if found.fused:
        lines.append(f"ood: {found.definitions['ood']}")
        for group in found.groups:
            fused = group.scores.get(OOD)
            if fused is not None and fused.auroc_of_p is not None:
                lines.append(f"  AUROC of its p-value, {group.name}: {_spread(fused.auroc_of_p)}")
    return "\n".join(lines)


def _spread(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _number(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{estimate.value:.3f}"


def _rate(share: Share | None) -> str:
    return "-" if share is None else told(share)


def _invalid(count: int) -> str:
    return f" ({count} invalid, in no figure)" if count else ""
