"""What would make the figures look better than they are."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.evaluation.content import content_groups
from edge_agent.evaluation.looking import Labels, Seen

_SHOWN: Final = 5
_ROWS_AT_ONCE: Final = 256


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


def calibrated_on(seen: Seen, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """(N,) tiles whose logits are those of a calibration tile, up to the noise of batching."""
    known = np.asarray(logits, dtype=np.float64)
    found = np.zeros(len(seen), dtype=bool)
    rows = np.asarray(seen.outputs.logits, dtype=np.float64)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[first : first + _ROWS_AT_ONCE]
        near = np.isclose(part[:, None, 0], known[None, :, 0], rtol=1e-4, atol=1e-4)
        for row, column in zip(*np.nonzero(near), strict=True):
            if np.allclose(part[row], known[column], rtol=1e-4, atol=1e-4):
                found[first + row] = True
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
