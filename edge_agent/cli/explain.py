"""`edge-agent explain`: why a tile was kept or skipped."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_agent.cli import explain_words as words
from edge_agent.cli.options import ConfigOption, DatabaseOption, JsonOption
from edge_agent.cli.records_view import database_file, moment, print_json, reading, size
from edge_agent.records.lookup import TileRecord, find_tile


def explain(
    tile: Annotated[
        str,
        typer.Argument(
            help="Ledger number, sample id (or its first digits), or FRAME@ROW,COLUMN.",
            metavar="TILE",
        ),
    ],
    config: ConfigOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that was found out about a tile, and the rule that decided."""
    file, _ = database_file(config, database)
    with reading(file) as records:
        record = find_tile(records, tile)
    if as_json:
        print_json(as_document(record))
        return
    console = Console(highlight=False)
    console.print(Text(f"{record.address} (ledger number {record.columns['id']})", style="bold"))
    console.print(Text(words.verdict_in_words(record)))
    for reason in record.facts.reasons[1:]:
        console.print(Text(f"Also: {words.reason_in_words(reason)}."))
    console.print(_facts_table(record))
    if record.facts.scores:
        console.print(_scores_table(record))
    if record.facts.findings:
        console.print(_findings_table(record))


def as_document(record: TileRecord) -> dict[str, Any]:
    """The whole record for `--json`; numbers that are not finite are null."""
    columns, facts = record.columns, record.facts
    hidden = ("facts", "labels", "policy_settings", "reason", "frame_id", "run_id", "id")
    document = {name: value for name, value in columns.items() if name not in hidden}
    document |= {
        "number": columns["id"],
        "tile": record.address,
        "kept": bool(columns["kept"]),
        "verdict": words.verdict_in_words(record),
        "scores": [
            {
                "score": name,
                "value": value,
                "p_value": facts.p_values.get(name),
                "kept_up_to_p_value": _limit(record, name),
            }
            for name, value in facts.scores.items()
        ],
        "probabilities": dict(_probabilities(record)),
        "findings": [dataclasses.asdict(finding) for finding in facts.findings],
        "reasons": [dataclasses.asdict(reason) for reason in facts.reasons],
        "policy_settings": record.policy_settings,
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def _facts_table(record: TileRecord) -> Table:
    columns = record.columns
    table = Table(box=None, show_header=False, pad_edge=False)

    def row(name: str, value: str) -> None:
        table.add_row(name, Text(value))

    row("survey", f"{columns['survey']}, {columns['bundle']}, policy {columns['policy']}")
    row("value", f"{columns['value']:.3f}")
    if columns["quality"] is not None:
        row("quality", f"{columns['quality']:.2f} of 5")
    if columns["longitude"] is not None:
        sigma = columns["sigma_m"]
        near = "" if sigma is None else f", to {sigma:.1f} m"
        row("place", f"{columns['latitude']:.6f}, {columns['longitude']:.6f}{near}")
    if columns["nodata_share"]:
        row("no data", f"{columns['nodata_share']:.1%}")
    likely = ", ".join(f"{label} {share:.1%}" for label, share in _probabilities(record))
    if likely:
        row("classes", likely)
    if columns["inclusion_probability"] is not None:
        row("drawn with probability", f"{columns['inclusion_probability']:.4g}")
    if record.sample_id is not None:
        row("sample", f"{record.sample_id}, {size(columns['payload_size'])}")
        row("delivery", words.delivery_in_words(columns))
        if columns["delivery_at"] is not None:
            row("", moment(columns["delivery_at"]))
    return table


def _scores_table(record: TileRecord) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("score", "value", "p-value", "kept up to"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    table.add_column("")
    for name, value in record.facts.scores.items():
        p_value, limit = record.facts.p_values.get(name), _limit(record, name)
        beyond = p_value is not None and limit is not None and p_value <= limit + 1e-6
        table.add_row(
            name,
            f"{value:.4g}",
            "-" if p_value is None else f"{p_value:.4g}",
            "not in use" if limit is None else f"{limit:.4g}",
            "beyond" if beyond else "",
        )
    return table


def _findings_table(record: TileRecord) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rule")
    table.add_column("finding")
    for finding in record.facts.findings:
        table.add_row(finding.rule, Text(words.finding_in_words(finding)))
    return table


def _probabilities(record: TileRecord) -> list[tuple[str, float]]:
    labels = record.labels
    return [
        (labels[index] if index < len(labels) else f"class {index}", share)
        for index, share in record.facts.probabilities
    ]


def _limit(record: TileRecord, score: str) -> float | None:
    """The largest p-value that the run's policy keeps for a score; None: it was not in use."""
    thresholds = record.policy_settings.get("thresholds", {})
    quantile = thresholds.get(score, 1.0) if isinstance(thresholds, dict) else 1.0
    return None if quantile >= 1.0 else round(1.0 - quantile, 12)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
