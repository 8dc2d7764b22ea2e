"""The walk's figures: one dict for `report.json`, one table for people, from the same numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.table import Table

from edge_agent.imagery.frames import FrameError, TilePlan, find_frame_files, open_frame
from edge_agent.imagery.payload import PayloadSettings, encode_payload
from edge_agent.imagery.settings import ImagerySettings
from edge_agent.inference.bundle import Bundle
from edge_agent.selection.policy import (
    AUDIT,
    DUPLICATE,
    FAMILIAR,
    INVALID,
    SCORE,
    PolicySettings,
)

KEPT = (AUDIT, SCORE)
SKIPPED = (FAMILIAR, DUPLICATE, INVALID)
TRUTHS = ("novel", "rare", "familiar")
MUCH = 0.25
"""Share of tiles kept from which on the walk says why it is so much."""


def bytes_of_everything(imagery: Path, bundle: Bundle, stopped: Callable[[], bool]) -> int:
    """Bytes of every tile that holds data, encoded as kept tiles are; of fewer once `stopped`."""
    spec = bundle.description.input
    plan = TilePlan((spec.size[0], spec.size[1]), spec.gsd_m, ImagerySettings())
    total = 0
    for file in find_frame_files(imagery):
        try:
            with open_frame(file, plan) as frame:
                for tile in frame.tiles():
                    if stopped():
                        return total
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
        "given_up": filtered["evicted"],
        "kept_by_reason": _of_kind(reasons, KEPT),
        "skipped_by_reason": _of_kind(reasons, SKIPPED),
        "other_by_reason": {c: n for c, n in reasons.items() if _kind(c) not in KEPT + SKIPPED},
        "beyond_quantiles": beyond_quantiles(reasons),
        "duplicates": sum(_of_kind(reasons, (DUPLICATE,)).values()),
        "bytes_sent": sent,
        "bytes_of_everything": everything,
        "share_of_bytes": sent / everything if everything else 0.0,
        "settled": synced["settled"],
        "samples_in_store": len(samples),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def _kind(code: str) -> str:
    return code.split(":")[0]


def _of_kind(reasons: dict[str, int], kinds: tuple[str, ...]) -> dict[str, int]:
    return {code: n for code, n in reasons.items() if _kind(code) in kinds}


def beyond_quantiles(reasons: dict[str, int]) -> dict[str, float]:
    """Share of the tiles judged by their scores alone that were kept, and what it is at most on
    familiar ground: the sum over the chosen scores of 1 - quantile.
    """
    strange = sum(_of_kind(reasons, (SCORE,)).values())
    judged = strange + sum(_of_kind(reasons, (FAMILIAR,)).values())
    chosen = PolicySettings().thresholds.chosen().values()
    return {
        "share": strange / judged if judged else 0.0,
        "at_most_on_familiar_ground": round(sum(1.0 - quantile for quantile in chosen), 6),
    }


def foreign_ground(figures: dict[str, Any]) -> str:
    """A sentence for a flight of which much was kept; empty for others."""
    beyond = figures["beyond_quantiles"]
    share, promised = beyond["share"], beyond["at_most_on_familiar_ground"]
    if figures["tiles_kept"] <= MUCH * figures["tiles_seen"] or share <= promised:
        return ""
    return (
        f"This ground is foreign to the model: {share:.0%} of the tiles judged by score lie beyond "
        f"quantiles that at most {promised:.0%} of familiar tiles exceed, so the filter keeps "
        "much. records.survey_max_bytes caps what one survey may keep."
    )


def is_rehearsal(imagery: Path) -> bool:
    """Whether the folder is a rendered survey, of which the truth is known."""
    return all((imagery / name).is_file() for name in ("survey.json", "truth.csv"))


def truth_figures(survey: Path, samples: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Tiles there and in the store: with a novel object, of the rare class, and without novelty.

    The rare class is a familiar one, so that its tiles count among the familiar ones too.
    """
    rare = json.loads((survey / "survey.json").read_text(encoding="utf-8"))["rare_class"]
    kept = {(sample["frame"], sample["row"], sample["column"]) for sample in samples}
    there, stored = dict.fromkeys(TRUTHS, 0), dict.fromkeys(TRUTHS, 0)
    with (survey / "truth.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            got = (row["frame"], int(row["row"]), int(row["column"])) in kept
            kinds = ["novel" if row["novelty"] else "familiar"]
            kinds += ["rare"] if row["class"] == rare and not row["novelty"] else []
            for kind in kinds:
                there[kind] += 1
                stored[kind] += got
    figures: dict[str, Any] = {"rare_class": rare}
    for kind in TRUTHS:
        figures |= {f"{kind}_tiles": there[kind], f"{kind}_tiles_kept": stored[kind]}
    return figures


def table(figures: dict[str, Any]) -> Table:
    """The figures as people read them."""
    view = Table(title=f"Survey {figures['survey']}", title_justify="left", show_header=False)
    view.add_column(justify="left")
    view.add_column(justify="right")
    view.add_row("tiles seen", f"{figures['tiles_seen']:,}")
    view.add_row("tiles kept", f"{figures['tiles_kept']:,}")
    if figures["given_up"]:
        view.add_row("of them given up for want of room", f"{figures['given_up']:,}")
    for group in ("kept_by_reason", "skipped_by_reason", "other_by_reason"):
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
        for kind in TRUTHS:
            kept, there = truth[f"{kind}_tiles_kept"], truth[f"{kind}_tiles"]
            share = f" ({kept / there:.1%})" if there else ""
            name = f"rare class ({truth['rare_class']})" if kind == "rare" else kind
            view.add_row(f"{name} tiles in the store", f"{kept:,} of {there:,}{share}")
    if figures["frames"]["failed"]:
        view.add_section()
        view.add_row("frames that could not be read", f"{len(figures['frames']['failed'])}")
    return view
