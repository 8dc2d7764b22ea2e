"""An image becomes one tile, or is cut as the filter cuts a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edge_agent.domain import Pixels
from edge_agent.evaluation.listing import Entry
from edge_agent.imagery.cutting import cut
from edge_agent.imagery.frames import FrameError, OpenFrame, TilePlan, open_frame
from edge_agent.imagery.source import Block, Source
from edge_agent.imagery.tiling import Axis, Grid, Window
from edge_agent.rules.quality import QualitySettings, assess


@dataclass(frozen=True, slots=True)
class SetTile:
    """One tile of a set."""

    name: str
    """The image's, with the tile's place in it where it was cut: `frame@row,column`."""
    entry: Entry
    index: int
    """Which of the image's tiles; 0 for a whole image."""
    pixels: Pixels
    """At the bundle's input size."""
    own_scale: bool = False
    """Whether its image was cut without knowing at what scale it shows the ground."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that gave no tiles, or no more of them."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A rectangle of a source, as if it were the whole of it."""

    whole: Source
    top: int
    left: int

    @property
    def bytes_per_pixel(self) -> int:
        return self.whole.bytes_per_pixel

    @property
    def rendering(self) -> str:
        return self.whole.rendering

    def read(self, window: Window) -> Block:
        """The pixels of a window that counts from the part's own corner."""
        row, column = self.top + window.row, self.left + window.column
        return self.whole.read(Window(row, column, window.height, window.width))


def read_tiles(
    entries: Iterable[Entry],
    plan: TilePlan,
    *,
    frames: QualitySettings | None,
    unreadable: Callable[[Unreadable], None],
) -> Iterator[SetTile]:
    """Every tile of every image in order; an image that cannot be read is told and left out.

    With `frames`, images are cut as the filter cuts them, and tiles that it would not show to the
    model are left out; without, an image is one tile: all of it, or its centre where its sides
    are in another ratio than the model's input, area-averaged to the input's size.
    """
    for entry in entries:
        try:
            with open_frame(entry.file, plan) as opened:
                if frames is None:
                    yield _whole(entry, opened, plan)
                else:
                    yield from _cut_frame(entry, opened, frames)
        except FrameError as error:
            unreadable(Unreadable(entry.file.name, str(error)))


def read_one(entry: Entry, plan: TilePlan, index: int, *, frames: bool) -> Pixels:
    """One tile again, to be shown.

    Raises:
        FrameError: the image cannot be read any more.
    """
    with open_frame(entry.file, plan) as opened:
        if frames:
            return next(opened.tiles(index)).pixels
        return _whole(entry, opened, plan).pixels


def _cut_frame(entry: Entry, opened: OpenFrame, quality: QualitySettings) -> Iterator[SetTile]:
    for index, tile in enumerate(opened.tiles()):
        if assess(tile, quality).state == "ok":
            name = f"{entry.file.name}@{tile.row},{tile.column}"
            yield SetTile(name, entry, index, tile.pixels, opened.frame.gsd_m is None)


def _whole(entry: Entry, opened: OpenFrame, plan: TilePlan) -> SetTile:
    height, width = opened.frame.height, opened.frame.width
    window = centre_window(height, width, plan.size)
    # One window whose side is the part's own: nothing is left to repeat.
    rows = Axis(window.height, window.height, window.height)
    columns = Axis(window.width, window.width, window.width)
    grid = Grid(rows, columns, plan.size, (window.height, window.width) == plan.size)
    part = _Part(opened.source, window.row, window.column)
    return SetTile(entry.file.name, entry, 0, next(cut(part, grid)).pixels)


def centre_window(height: int, width: int, size: tuple[int, int]) -> Window:
    """The largest centred window of an image whose sides are in the ratio of `size`."""
    high = min(height, max(1, width * size[0] // size[1]))
    wide = min(width, max(1, height * size[1] // size[0]))
    return Window((height - high) // 2, (width - wide) // 2, high, wide)
