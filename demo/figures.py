"""The walk's figures: one dict for `report.json`, one table for people, from the same numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.table import Table

from edge_agent.imagery.frames import FrameError, TilePlan, find_frame_files, open_frame
from edge_agent.imagery.payload import PayloadSettings, encode_payload
from edge_agent.imagery.settings import ImagerySettings
from edge_agent.inference.bundle import Bundle


def bytes_of_everything(imagery: Path, bundle: Bundle) -> int:
    """Bytes of every tile that holds data, encoded as kept tiles are."""
    spec = bundle.description.input
    plan = TilePlan((spec.size[0], spec.size[1]), spec.gsd_m, ImagerySettings())
    total = 0
    for file in find_frame_files(imagery):
        try:
            with open_frame(file, plan) as frame:
                for tile in frame.tiles():
                    if tile.nodata_share < 1.0:
                        total += len(encode_payload(tile.pixels, PayloadSettings()))
        except FrameError:
            continue  # the filter has told of it; tiles before the break count
    return total


def gather(
    filtered: dict[str, Any],
    synced: dict[str, Any],
    samples: list[dict[str, Any]],
    everything: int,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """All figures of the walk."""
    reasons = filtered["by_reason"]
    sent = synced["sent_bytes"]
    return {
        "survey": filtered["survey"],
        "frames": {
            "finished": filtered["frames_finished"],
            "failed": filtered["frames_failed"],
        },
        "tiles_seen": filtered["tiles"],
        "tiles_kept": filtered["kept"],
        "kept_by_reason": _of_kind(reasons, ("audit", "score")),
        "skipped_by_reason": _of_kind(reasons, ("familiar", "duplicate", "invalid")),
        "duplicates": sum(n for code, n in reasons.items() if code.startswith("duplicate")),
        "bytes_sent": sent,
        "bytes_of_everything": everything,
        "share_of_bytes": sent / everything if everything else 0.0,
        "settled": synced["settled"],
        "samples_in_store": len(samples),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def _of_kind(reasons: dict[str, int], kinds: tuple[str, ...]) -> dict[str, int]:
    return {code: n for code, n in reasons.items() if code.split(":")[0] in kinds}


def truth_figures(truth: Path, samples: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Of the planted novel objects and the rare class: how many there were, how many were kept."""
    kept = {(sample["frame"], sample["row"], sample["column"]) for sample in samples}
    novel = novel_kept = familiar = familiar_kept = 0
    with truth.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            got = (row["frame"], int(row["row"]), int(row["column"])) in kept
            if row["novelty"]:
                novel, novel_kept = novel + 1, novel_kept + got
            else:
                familiar, familiar_kept = familiar + 1, familiar_kept + got
    return {
        "novel_tiles": novel,
        "novel_tiles_kept": novel_kept,
        "familiar_tiles": familiar,
        "familiar_tiles_kept": familiar_kept,
    }


def table(figures: dict[str, Any]) -> Table:
    """The figures as people read them."""
    view = Table(title=f"Survey {figures['survey']}", title_justify="left", show_header=False)
    view.add_column(justify="left")
    view.add_column(justify="right")
    view.add_row("tiles seen", f"{figures['tiles_seen']:,}")
    view.add_row("tiles kept", f"{figures['tiles_kept']:,}")
    for group in ("kept_by_reason", "skipped_by_reason"):
        view.add_section()
        for code, count in figures[group].items():
            view.add_row(f"{group.split('_')[0]}: {code}", f"{count:,}")
    view.add_section()
    view.add_row("duplicates", f"{figures['duplicates']:,}")
    view.add_row("sent", f"{figures['bytes_sent'] / 1e6:.2f} MB")
    view.add_row("sending everything", f"{figures['bytes_of_everything'] / 1e6:.2f} MB")
    view.add_row("share of the bytes", f"{figures['share_of_bytes']:.1%}")
    view.add_row("samples in the store", f"{figures['samples_in_store']:,}")
    if "truth" in figures:
        truth = figures["truth"]
        view.add_section()
        for kind in ("novel", "familiar"):
            kept, there = truth[f"{kind}_tiles_kept"], truth[f"{kind}_tiles"]
            share = f" ({kept / there:.1%})" if there else ""
            view.add_row(f"{kind} tiles in the store", f"{kept:,} of {there:,}{share}")
    if figures["frames"]["failed"]:
        view.add_section()
        view.add_row("frames that could not be read", f"{len(figures['frames']['failed'])}")
    return view
