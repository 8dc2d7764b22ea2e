"""What would make the figures look better than they are."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Outputs
from edge_agent.evaluation.content import content_groups
from edge_agent.evaluation.looking import Labels, Seen

_SHOWN: Final = 5
_ROWS_AT_ONCE: Final = 256
_HAIR: Final = 0.02
"""Measured: one image averaged in two ways differs by 0.005, two images by 0.1 and more."""
_TELLING: Final = 16
"""With fewer features, two images may well agree so far."""


def overlap_notes(one: Seen, other: Seen, what: str) -> list[str]:
    """Tiles of two sets that hold the same pixels, told in words."""
    shared = shared_content(one, other)
    if not shared.any():
        return []
    names = [one.names[row] for row in np.flatnonzero(shared)]
    return [f"{len(names)} tiles of {one.name} are {what}: {shown(names)}"]


def shared_content(one: Seen, other: Seen) -> npt.NDArray[np.bool_]:
    """(N,) tiles of `one` whose very pixels are in `other` too."""
    present = set(other.digests)
    return np.array([digest in present for digest in one.digests], dtype=bool)


def near_content(one: Seen, other: Seen) -> npt.NDArray[np.bool_]:
    """(N,) tiles of `one` that show the same as a tile of `other`, nearly or exactly."""
    groups = content_groups((*one.digests, *other.digests), (*one.hashes, *other.hashes))
    return np.isin(groups[: len(one)], groups[len(one) :])


def calibrated_on(ours: Outputs, outputs: Outputs) -> npt.NDArray[np.bool_]:
    """(N,) tiles whose outputs are those of a calibration tile, up to how it was looked at.

    Logits alone must agree up to the noise of batching; where an embedding says so much more, up
    to the hair by which two ways of reading and averaging an image differ.
    """
    known = np.asarray(outputs.logits, dtype=np.float64)
    rows = np.asarray(ours.logits, dtype=np.float64)
    found = np.zeros(len(rows), dtype=bool)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[first : first + _ROWS_AT_ONCE]
        near = np.isclose(part[:, None, 0], known[None, :, 0], rtol=1e-4, atol=1e-4)
        for row, column in zip(*np.nonzero(near), strict=True):
            if np.allclose(part[row], known[column], rtol=1e-4, atol=1e-4):
                found[first + row] = True
    if ours.features is not None and outputs.features is not None:
        found |= _alike(ours.features, outputs.features)
    return found


def _alike(
    rows: npt.NDArray[np.floating], known: npt.NDArray[np.floating]
) -> npt.NDArray[np.bool_]:
    """(N,) rows that are a known one up to 2 % of its length; short rows say too little."""
    ours, theirs = np.asarray(rows, dtype=np.float64), np.asarray(known, dtype=np.float64)
    found = np.zeros(len(ours), dtype=bool)
    if ours.shape[1] != theirs.shape[1] or ours.shape[1] < _TELLING:
        return found
    squares = (theirs**2).sum(axis=1)
    for first in range(0, len(ours), _ROWS_AT_ONCE):
        part = ours[first : first + _ROWS_AT_ONCE]
        apart = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ theirs.T
        found[first : first + _ROWS_AT_ONCE] = (apart <= _HAIR**2 * squares).any(axis=1)
    return found


def conflict_notes(seen: Seen) -> list[str]:
    """Tiles of equal pixels that the set names differently, told in words."""
    if seen.labels is None:
        return []
    first: dict[bytes, int] = {}
    pairs = []
    for row, digest in enumerate(seen.digests):
        earlier = first.setdefault(digest, row)
        if seen.labels[earlier] != seen.labels[row]:
            pairs.append(f"{seen.names[earlier]} = {seen.names[row]}")
    if not pairs:
        return []
    return [f"{len(pairs)} tiles show the very pixels of a tile of another class: {shown(pairs)}"]


def unreadable_notes(seen: Seen) -> list[str]:
    """Images that gave no tiles, told in words."""
    bad = seen.unreadable
    if not bad:
        return []
    told = "; ".join(f"{one.name} ({one.why})" for one in bad[:_SHOWN])
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return [f"{len(bad)} images of {seen.name} cannot be read: {told}{more}"]


def right_ones(seen: Seen, predicted: Labels) -> npt.NDArray[np.bool_] | None:
    """(N,) tiles named rightly; None without labels."""
    return None if seen.labels is None else np.asarray(predicted == seen.labels)


def shown(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
