"""How a filter run looks: a progress bar while it works, a table when it is over."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge_agent.filter import FilterReport
from edge_agent.selection.policy import (
    AUDIT,
    DUPLICATE,
    FAMILIAR,
    FOREIGN,
    INVALID,
    SCORE,
    UNJUDGED,
)


class ProgressView:
    """A bar on stderr when that is a terminal, nothing otherwise."""

    def __init__(self, frames: int | None) -> None:
        """`frames` in all, None when files keep arriving."""
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("frames"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._bar.add_task("filter", total=frames, told="")

    def __enter__(self) -> ProgressView:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, report: FilterReport) -> None:
        """Bring the bar up to date."""
        done = report.frames_finished + report.frames_skipped + len(report.frames_failed)
        done += report.frames_failed_before
        self._bar.update(
            self._task, completed=done, told=f"{report.tiles} tiles, {report.kept} kept"
        )


def report_json(report: FilterReport, survey: str) -> dict[str, Any]:
    """The run's figures, for `--json`."""
    return {
        "survey": survey,
        "frames_finished": report.frames_finished,
        "frames_skipped": report.frames_skipped,
        "frames_failed_before": report.frames_failed_before,
        "frames_failed": [
            {"frame": name, "reason": reason, "message": message}
            for name, reason, message in report.frames_failed
        ],
        "frames_off_scale": report.frames_off_scale,
        "frames_of_unknown_scale": report.frames_of_unknown_scale,
        "stopped": report.stopped,
        "tiles": report.tiles,
        "kept": report.kept,
        "evicted": report.evicted,
        "payload_bytes": report.payload_bytes,
        "by_reason": dict(report.by_reason.most_common()),
    }


def print_report(report: FilterReport) -> None:
    """The run's figures as a table on stdout, failed frames by name below it."""
    console = Console()
    frames = f"{report.frames_finished} finished"
    if report.frames_skipped:
        frames += f", {report.frames_skipped} done before"
    if report.frames_failed:
        frames += f", {len(report.frames_failed)} failed"
    if report.frames_failed_before:
        frames += f", {report.frames_failed_before} failed before (edge-agent frames list --failed)"
    table = Table(title=f"Frames: {frames}", title_justify="left", show_edge=False)
    for heading in ("tiles", "share", "verdict"):
        table.add_column(heading, justify="left" if heading == "verdict" else "right")
    for code, count in report.by_reason.most_common():
        table.add_row(f"{count}", f"{count / report.tiles:.1%}", reason_in_words(code))
    table.add_section()
    table.add_row(f"{report.kept}", "", f"kept, {report.payload_bytes / 1e6:.2f} MB of pixels")
    if report.evicted:
        table.add_row(f"{report.evicted}", "", "given up for want of room")
    table.add_row(f"{report.tiles}", "", "seen")
    console.print(table)
    if report.frames_off_scale:
        console.print(
            f"{report.frames_off_scale} frames were shown to the model far from the scale it was "
            "trained at: their verdicts are doubtful (edge-agent frames list tells more)"
        )
    if report.frames_of_unknown_scale:
        console.print(
            f"{report.frames_of_unknown_scale} frames do not say at what scale they show the ground"
        )
    if report.stopped:
        console.print("stopped before its end: the same command goes on from here")
    for name, reason, message in report.frames_failed:
        console.print(f"failed: {name} ({reason}): {message}", highlight=False, markup=False)


def reason_in_words(code: str) -> str:
    """A reason's code as an operator reads it."""
    kind, _, detail = code.partition(":")
    if kind == FOREIGN:
        why = "like a kept tile" if detail == "alike" else "not drawn"
        return f"skipped: strange as all of this survey, and {why}"
    words = {
        SCORE: f"kept: {detail.replace('_', ' ')} unlike familiar tiles",
        AUDIT: "kept: drawn for the audit",
        DUPLICATE: f"skipped: repeats a kept tile ({detail})",
        INVALID: f"skipped: nothing to see ({detail})",
        FAMILIAR: "skipped: familiar",
        UNJUDGED: "skipped: the bundle has no calibration to judge by",
    }
    return words.get(kind, code)
