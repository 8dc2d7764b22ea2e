"""Finding image files."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

IMAGE_SUFFIXES: Final = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".webp")
PARTIAL_SUFFIXES: Final = (".part", ".partial", ".tmp", ".crdownload", "~")
"""Names that copying programs use until a file is complete."""
_NOWHERE: Final = (-1, -1)
"""Device and inode of no file."""


@dataclass(frozen=True, slots=True)
class FrameFile:
    """An image file as it was found; rewritten, it is another one."""

    path: Path
    name: str
    """Path below the folder looked into, with forward slashes."""
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is, or is about to become, a frame."""

    file: FrameFile
    identity: tuple[int, int]
    """Device and inode: stays when a file is renamed."""
    partial: bool


def find_frame_files(folder_or_file: Path) -> Iterator[FrameFile]:
    """Image files below a folder, sorted by name, or the one file given whatever its name.

    Hidden and partial files are left out, links to folders are not followed. A folder that
    cannot be read is told in the log and left out.
    """
    try:
        status = folder_or_file.stat()
    except OSError as error:
        _tell(folder_or_file, error)
        return
    if stat.S_ISREG(status.st_mode):
        name = printable(folder_or_file.name)
        yield FrameFile(folder_or_file, name, status.st_size, status.st_mtime_ns)
        return
    for found in scan(folder_or_file, _tell):
        if not found.partial:
            yield found.file


def scan(folder: Path, tell: Callable[[Path, OSError], None], prefix: str = "") -> Iterator[Found]:
    """Frames below `folder`, complete or partial, sorted by name.

    `tell` hears of folders that cannot be read; they are left out. A frame's file that cannot be
    looked at is given, with size and time 0 where these are not known.
    """
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        tell(folder, error)
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from scan(Path(entry.path), tell, prefix + printable(entry.name) + "/")
            elif (partial := _partial(entry.name)) is not None and entry.is_file():
                yield _found(entry, prefix, entry.stat(), partial)
        except FileNotFoundError:
            continue  # gone between listing and looking
        except OSError as error:
            if _partial(entry.name) is False:
                yield _unreadable(entry, prefix)
            else:
                tell(Path(entry.path), error)


def _found(entry: os.DirEntry[str], prefix: str, status: os.stat_result, partial: bool) -> Found:
    name = prefix + printable(entry.name)
    file = FrameFile(Path(entry.path), name, status.st_size, status.st_mtime_ns)
    return Found(file, (status.st_dev, status.st_ino), partial)


def _unreadable(entry: os.DirEntry[str], prefix: str) -> Found:
    """A frame by its name that the file system will not show: opening it will tell why, where
    the ledger hears of it."""
    try:
        return _found(entry, prefix, entry.stat(follow_symlinks=False), False)
    except OSError:
        nothing = FrameFile(Path(entry.path), prefix + printable(entry.name), 0, 0)
        return Found(nothing, _NOWHERE, False)


def _tell(folder: Path, error: OSError) -> None:
    _log.warning("cannot look into %s: %s", printable(str(folder)), error.strerror)


def printable(name: str) -> str:
    """`name` as text that can be written anywhere; bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _partial(name: str) -> bool | None:
    """Whether a file of that name is a frame on its way; None for files that are no frames."""
    lower = name.lower()
    if lower.endswith(PARTIAL_SUFFIXES):
        return True
    return False if lower.endswith(IMAGE_SUFFIXES) else None
