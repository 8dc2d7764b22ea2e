"""Watch mode: frames as they arrive, each once it is completely written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.imagery.files import Found, FrameFile, printable, scan
from edge_agent.imagery.settings import ImagerySettings

_log = logging.getLogger(__name__)

_BREATH_S = 0.5
"""The longest sleep between two questions whether to stop."""
_REST = 10.0
"""A look that takes long is followed by a pause so many times as long: a tenth of one core."""

Version = tuple[int, int]
"""Size and modification time: what tells one writing of a file from the next."""


def watch(
    folder: Path,
    settings: ImagerySettings,
    stopped: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[FrameFile]:
    """Yield files that are in `folder` or arrive there, until `stopped`.

    A file is complete when its size and time have not changed for `settle_s`, or at once when
    it was seen under a partial name before. Rewritten later, it is yielded again. The folder
    itself may appear later, too.
    """
    arrivals = Arrivals(settings.settle_s)
    troubles = Troubles()
    while not stopped():
        began = clock()
        complete = arrivals.look(scan(folder, troubles.tell), began)
        until = began + (clock() - began) * _REST + settings.poll_s
        for file in complete:
            yield file
            if stopped():
                return
        while (left := until - clock()) > 0.0 and not stopped():
            sleep(min(left, _BREATH_S))


@dataclass(slots=True)
class _Growing:
    version: Version
    since: float


class Arrivals:
    """What has been seen of a folder: decides which files are complete."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._growing: dict[str, _Growing] = {}
        self._given: dict[str, Version] = {}
        self._partial: set[tuple[int, int]] = set()

    def look(self, found: Iterable[Found], now: float) -> list[FrameFile]:
        """Take one listing, seen at `now` in seconds; return the files that became complete."""
        growing: dict[str, _Growing] = {}
        given: dict[str, Version] = {}
        partial: set[tuple[int, int]] = set()
        complete = []
        for one in found:
            file, version = one.file, (one.file.size, one.file.mtime_ns)
            if one.partial:
                partial.add(one.identity)
            elif self._given.get(file.name) == version:
                given[file.name] = version
            elif one.identity in self._partial or self._settled(file.name, version, now):
                given[file.name] = version
                complete.append(file)
            else:
                before = self._growing.get(file.name)
                unchanged = before is not None and before.version == version
                growing[file.name] = before if before and unchanged else _Growing(version, now)
        # Only what is still there is remembered: the cost is that of the folder, not of the flight.
        self._growing, self._given, self._partial = growing, given, partial
        return complete

    def _settled(self, name: str, version: Version, now: float) -> bool:
        before = self._growing.get(name)
        if before is None or before.version != version:
            return self._settle_s == 0.0
        return now - before.since >= self._settle_s


class Troubles:
    """Tells of each folder or file that cannot be read once, not at every look."""

    def __init__(self) -> None:
        self._told: set[Path] = set()

    def tell(self, folder: Path, error: OSError) -> None:
        """Log it the first time."""
        if folder not in self._told:
            self._told.add(folder)
            _log.warning("cannot look into %s: %s", printable(str(folder)), error.strerror)
