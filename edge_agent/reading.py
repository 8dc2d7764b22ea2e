"""Files to tiles, as a stream of events: what the reading thread tells the filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from edge_agent.domain import Frame
from edge_agent.imagery.frames import FrameError, FrameFile, TilePlan, open_frame
from edge_agent.judge import ExaminedTile, examine
from edge_agent.rules.quality import QualitySettings


@dataclass(frozen=True, slots=True)
class FrameOpened:
    """A frame's tiles follow, from number `first` of `tile_count` on."""

    file: FrameFile
    frame: Frame
    tile_count: int
    first: int


@dataclass(frozen=True, slots=True)
class TilesRead:
    """Some tiles of the frame opened last, in order, already examined."""

    file: FrameFile
    tiles: tuple[ExaminedTile, ...]


@dataclass(frozen=True, slots=True)
class FrameFinished:
    """All tiles of the frame have been read."""

    file: FrameFile


@dataclass(frozen=True, slots=True)
class FrameSkipped:
    """The ledger knows this very file as done."""

    file: FrameFile


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """The frame cannot be read, or not any further."""

    file: FrameFile
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Look:
    """How tiles are looked at while they are read, and how many are handed over at once."""

    quality: QualitySettings
    tiles_at_once: int


ReadEvent: TypeAlias = FrameOpened | TilesRead | FrameFinished | FrameSkipped | FrameFailed
FirstTile: TypeAlias = Callable[[FrameFile], int | None]
"""From which tile on a file is still to be read; None if it is done."""


def read_frames(
    files: Iterable[FrameFile], first_tile: FirstTile, plan: TilePlan, look: Look
) -> Iterator[ReadEvent]:
    """Read one file after the other; a bad one is told and left behind."""
    for file in files:
        first = first_tile(file)
        if first is None:
            yield FrameSkipped(file)
            continue
        try:
            yield from _read_frame(file, first, plan, look)
        except FrameError as error:
            yield FrameFailed(file, error.reason, error.message)


def _read_frame(file: FrameFile, first: int, plan: TilePlan, look: Look) -> Iterator[ReadEvent]:
    with open_frame(file, plan) as opened:
        yield FrameOpened(file, opened.frame, opened.tile_count, first)
        waiting: list[ExaminedTile] = []
        failure: FrameError | None = None
        try:
            for tile in opened.tiles(first):
                waiting.append(examine(file.name, tile, look.quality))
                if len(waiting) == look.tiles_at_once:
                    yield TilesRead(file, tuple(waiting))
                    waiting = []
        except FrameError as error:
            failure = error
        if waiting:  # tiles read before a break are good: they go before the failure
            yield TilesRead(file, tuple(waiting))
        if failure is not None:
            raise failure
    yield FrameFinished(file)
