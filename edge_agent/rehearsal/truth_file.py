"""truth.csv: a row per tile of every frame and of the orthomosaic."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_agent.rehearsal.covers import LABELS, TILE_PX
from edge_agent.rehearsal.noise import Window
from edge_agent.rehearsal.novel_kinds import NOVEL_KINDS
from edge_agent.rehearsal.place import Place
from edge_agent.rehearsal.truth import Labels

COLUMNS = (
    "frame", "row", "column", "height", "width", "class", "class_share", "novelty",
    "novelty_share", "nodata_share", "group", "longitude", "latitude",
)  # fmt: skip


@dataclass(slots=True)
class Truth:
    """Rows so far, and what they add up to."""

    place: Place
    rows: list[tuple[str | int, ...]] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    novelties: Counter[str] = field(default_factory=Counter)
    _groups: dict[tuple[str, int, int], int] = field(default_factory=dict)

    def add(self, frame: str, first: str, window: Window, turned: bool, labels: Labels) -> None:
        """All tiles of a frame.

        labels: in the frame's own order. first: the frame whose tiles show the same ground in the
        same place; `frame` itself if there is no earlier one. turned: the frame's top is the south.
        """
        count = labels.label.shape
        middle_row, middle_column = (
            (np.arange(n)[:, None] if axis == 0 else np.arange(n)[None, :]) * TILE_PX + TILE_PX / 2
            for axis, n in enumerate(count)
        )
        if turned:
            middle_row, middle_column = window.height - middle_row, window.width - middle_column
        longitude, latitude = self.place.degrees(
            *np.broadcast_arrays(window.row + middle_row, window.column + middle_column)
        )
        for row, column in np.ndindex(*count):
            at = row, column
            label, novelty = int(labels.label[at]), int(labels.novelty[at])
            name = LABELS[label] if label >= 0 else ""
            kind = NOVEL_KINDS[novelty - 1] if novelty else ""
            group = self._groups.setdefault((first, row, column), len(self._groups) + 1)
            self.classes[name] += 1
            self.novelties[kind] += 1
            self.rows.append(
                (frame, row * TILE_PX, column * TILE_PX, TILE_PX, TILE_PX, name,
                 f"{labels.share[at]:.4f}", kind, f"{labels.novelty_share[at]:.4f}",
                 f"{labels.nodata_share[at]:.4f}", group, f"{longitude[at]:.8f}",
                 f"{latitude[at]:.8f}")
            )  # fmt: skip

    @property
    def groups(self) -> int:
        """Distinct views of the ground."""
        return len(self._groups)

    def write(self, path: Path) -> None:
        """Write the file."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(self.rows)


def read_truth(path: Path) -> Iterator[Mapping[str, str]]:
    """Rows of a truth.csv by column name."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
