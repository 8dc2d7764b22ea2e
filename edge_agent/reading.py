"""Files to tiles, as a stream of events: what the reading thread tells the filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from edge_agent.domain import Frame
from edge_agent.imagery.frames import FrameError, FrameFile, TilePlan, open_frame
from edge_agent.judge import ExaminedTile, examine
from edge_agent.records.values import FrameRow
from edge_agent.rules.quality import QualitySettings


@dataclass(frozen=True, slots=True)
class FrameOpened:
    """A frame's tiles follow, from number `first` of `tile_count` on."""

    file: FrameFile
    frame: Frame
    tile_count: int
    first: int
    plan: str
    """How it is cut."""


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
    failed: bool
    """Done because it could not be read."""


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


class FrameMemory(Protocol):
    """What earlier runs left of a file."""

    def known(self, file: FrameFile) -> FrameRow | None:
        """How far the file has come, None if it is new."""

    def trying(self, file: FrameFile) -> int:
        """Note, for good, that the file is about to be opened; how often that led nowhere."""

    def survived(self, file: FrameFile) -> None:
        """The file has been read to its end or to its fault: it kills nothing."""

    def let_go(self) -> None:
        """The run ends in good order: whatever ended it, it was none of the files tried."""


ReadEvent: TypeAlias = FrameOpened | TilesRead | FrameFinished | FrameSkipped | FrameFailed

MAX_DEATHS: Final = 3
"""A file on which the filter died so often in a row is left behind, so that others get a turn."""


def read_frames(
    files: Iterable[FrameFile], memory: FrameMemory, plan: TilePlan, look: Look
) -> Iterator[ReadEvent]:
    """Read one file after the other; a bad one is told and left behind."""
    try:
        yield from _read_files(files, memory, plan, look)
    except GeneratorExit:
        memory.let_go()
        raise


def _read_files(
    files: Iterable[FrameFile], memory: FrameMemory, plan: TilePlan, look: Look
) -> Iterator[ReadEvent]:
    for file in files:
        row = memory.known(file)
        if row is not None and row.finished:
            yield FrameSkipped(file, row.failed)
            continue
        if memory.trying(file) >= MAX_DEATHS:
            told = f"the filter died {MAX_DEATHS} times in a row while it was read"
            yield FrameFailed(file, "crashed", told)
            continue
        try:
            yield from _read_frame(file, row, plan, look, memory)
        except FrameError as error:
            memory.survived(file)
            yield FrameFailed(file, error.reason, error.message)


def _read_frame(
    file: FrameFile, row: FrameRow | None, plan: TilePlan, look: Look, memory: FrameMemory
) -> Iterator[ReadEvent]:
    with open_frame(file, plan) as opened:
        # Cut in another way than before, the numbers of its tiles mean other tiles.
        first = row.tiles_done if row is not None and row.plan == opened.plan else 0
        yield FrameOpened(file, opened.frame, opened.tile_count, first, opened.plan)
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
        memory.survived(file)
        if waiting:  # tiles read before a break are good: they go before the failure
            yield TilesRead(file, tuple(waiting))
        if failure is not None:
            raise failure
    yield FrameFinished(file)
