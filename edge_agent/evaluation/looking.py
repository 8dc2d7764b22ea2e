"""A bundle looks at a set of images: tiles in, outputs out, and what shows the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Outputs, Pixels
from edge_agent.evaluation.content import Groups, content_groups
from edge_agent.evaluation.listing import Entry, ImageSetError, Listing
from edge_agent.evaluation.tiles import SetTile, Unreadable, read_one, read_tiles
from edge_agent.imagery.frames import TilePlan
from edge_agent.inference.session import Session
from edge_agent.novelty.perceptual_hash import SIDE, perceptual_hash
from edge_agent.rules.quality import QualitySettings
from edge_agent.scoring.stand_ins import take
from operations.errors import ExitCode, Problem

Labels = npt.NDArray[np.int64]

FRAMES_TO_GROUP: Final = 10
"""With fewer frames, tiles are grouped by content alone: whole frames would leave no folds."""
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Look:
    """How a bundle looks at sets of images."""

    session: Session
    plan: TilePlan
    frames: QualitySettings | None
    """How tiles are looked at where images are cut as the filter does; None takes them whole."""
    batch_size: int
    seen: Callable[[int], None] = field(default=lambda tiles: None)
    """Told how many tiles a batch had."""


@dataclass(frozen=True, slots=True)
class Seen:
    """N tiles of a set and what the bundle makes of them."""

    name: str
    outputs: Outputs
    labels: Labels | None
    """(N,) true classes, where the set has them."""
    names: tuple[str, ...]
    origins: tuple[tuple[Entry, int], ...]
    """Each tile's image and its number in it."""
    digests: tuple[bytes, ...]
    hashes: tuple[int | None, ...]
    images: npt.NDArray[np.int64]
    """(N,) number of each tile's image."""
    unreadable: tuple[Unreadable, ...]
    notes: tuple[str, ...]
    look: Look

    def __len__(self) -> int:
        return len(self.names)

    @property
    def content(self) -> Groups:
        """(N,) equal numbers show the same content."""
        return content_groups(self.digests, self.hashes)

    @property
    def clusters(self) -> Groups:
        """(N,) tiles of one number do not speak for themselves: one frame, or the same content."""
        return self.images if self.look.frames is not None else self.content

    @property
    def groups(self) -> Groups:
        """(N,) tiles of one number are never parted by a split."""
        whole = self.look.frames is not None and len(np.unique(self.images)) >= FRAMES_TO_GROUP
        return self.images if whole else self.content

    def pixels(self, row: int) -> Pixels:
        """One tile's pixels, read again.

        Raises:
            FrameError: the image cannot be read any more.
        """
        entry, index = self.origins[row]
        return read_one(entry, self.look.plan, index, frames=self.look.frames is not None)

    def take(self, rows: npt.NDArray[np.intp]) -> Seen:
        """The tiles of these rows, in this order."""
        return Seen(
            name=self.name,
            outputs=take(self.outputs, rows),
            labels=None if self.labels is None else self.labels[rows],
            names=tuple(self.names[row] for row in rows),
            origins=tuple(self.origins[row] for row in rows),
            digests=tuple(self.digests[row] for row in rows),
            hashes=tuple(self.hashes[row] for row in rows),
            images=self.images[rows],
            unreadable=self.unreadable,
            notes=self.notes,
            look=self.look,
        )


def look_at(name: str, listing: Listing, look: Look) -> Seen:
    """Show every tile of the set to the bundle.

    Raises:
        ImageSetError: not one image can be read.
        InferenceError: the model stopped running.
    """
    unreadable: list[Unreadable] = []
    tiles = read_tiles(listing.entries, look.plan, frames=look.frames, unreadable=unreadable.append)
    parts: list[Outputs] = []
    kept: list[tuple[str, Entry, int]] = []
    signs: list[tuple[bytes, int | None]] = []
    unscaled: set[str] = set()
    for batch in _batches(tiles, look.batch_size):
        parts.append(look.session.run(look.session.prepare([tile.pixels for tile in batch])))
        kept += [(tile.name, tile.entry, tile.index) for tile in batch]
        signs += [signs_of(tile.pixels) for tile in batch]
        unscaled |= {tile.entry.file.name for tile in batch if tile.own_scale}
        look.seen(len(batch))
    if not parts:
        raise _nothing_readable(name, unreadable)
    labels = np.array([-1 if e.label is None else e.label for _, e, _ in kept], dtype=np.int64)
    numbers = {id(entry): number for number, entry in enumerate(listing.entries)}
    return Seen(
        name=name,
        outputs=joined(parts),
        labels=labels if listing.labelled else None,
        names=tuple(name for name, _, _ in kept),
        origins=tuple((entry, index) for _, entry, index in kept),
        digests=tuple(digest for digest, _ in signs),
        hashes=tuple(bits for _, bits in signs),
        images=np.array([numbers[id(entry)] for _, entry, _ in kept], dtype=np.int64),
        unreadable=tuple(unreadable),
        notes=(*listing.notes, *_scale_notes(name, len(unscaled))),
        look=look,
    )


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of several batches as one."""
    features = [part.features for part in parts if part.features is not None]
    members = [part.member_logits for part in parts if part.member_logits is not None]
    return Outputs(
        np.concatenate([part.logits for part in parts]),
        np.concatenate(features) if features else None,
        np.concatenate(members, axis=1) if members else None,
    )


def _batches(tiles: Iterable[SetTile], size: int) -> Iterator[list[SetTile]]:
    iterator = iter(tiles)
    while batch := list(islice(iterator, size)):
        yield batch


def signs_of(pixels: Pixels) -> tuple[bytes, int | None]:
    """What tells a tile's content: the digest of its pixels and its perceptual hash."""
    digest = hashlib.sha256(pixels.tobytes()).digest()
    return digest, perceptual_hash(pixels) if min(pixels.shape[:2]) >= SIDE else None


def _scale_notes(name: str, count: int) -> list[str]:
    if not count:
        return []
    told = "do not say at what scale they show the ground: cut at their own"
    return [f"{count} images of {name} {told}"]


def _nothing_readable(name: str, unreadable: Sequence[Unreadable]) -> ImageSetError:
    problems = [Problem(f"{bad.name}: {bad.why}") for bad in unreadable[:_SHOWN]]
    if len(unreadable) > _SHOWN:
        problems.append(Problem(f"and {len(unreadable) - _SHOWN} more"))
    if not problems:
        problems.append(Problem("its frames hold no tile that is worth a look"))
    error = ImageSetError(f"no image of {name} can be read", problems)
    error.exit_code = ExitCode.CANNOT_RUN
    return error
