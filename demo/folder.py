"""The walk's output folder: one walk at a time, and nothing removed that no walk has made."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from operations.errors import OperatorError, Problem

MARKER = ".tilesift-demo"
"""Lists what walks made here, a name a line; locked while one is at work."""
SURVEY, STORE, DATABASE, REPORT = "survey", "store", "edge.db", "report.json"
PRODUCTS = (SURVEY, STORE, DATABASE, REPORT)
BESIDE_DATABASE = ("", "-wal", "-shm", "-journal", ".lock", ".sync-lock", ".suspect", ".corrupt-*")


@contextmanager
def output_folder(out: Path, flight: Path | None, bundle: Path) -> Iterator[Path]:
    """The emptied folder, ours until the block ends; a flight within its survey stays there.

    Raises:
        OperatorError: another walk is at work there; a product's name is taken by something that
            no walk has made; or the flight or the bundle lies where the walk would remove or
            find its own products. Nothing has been removed then.
    """
    _refuse_overlap(out, flight, bundle)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OperatorError(f"{out} is not a folder: give --out another name") from error
    with (out / MARKER).open("a+", encoding="utf-8") as marker:
        _lock(marker, out)
        marker.seek(0)
        made = set(marker.read().split())
        foreign = [name for name in PRODUCTS if name not in made and _there(out / name)]
        if foreign:
            raise OperatorError(
                f"{out} holds what no walk has made: {', '.join(foreign)}",
                [Problem("a walk would have to remove it", "give --out another folder")],
            )
        kept = {SURVEY} if flight is not None else set()
        _clear(out, made - kept)
        marker.truncate(0)
        marker.write("\n".join(sorted((made & kept) | (set(PRODUCTS) - kept))) + "\n")
        marker.flush()
        yield out


def _refuse_overlap(out: Path, flight: Path | None, bundle: Path) -> None:
    here = out.resolve()
    if flight is not None and here.is_relative_to(flight.resolve()):
        raise OperatorError(
            f"{out} lies within the flight {flight}",
            [Problem("the walk would take its own products for frames", "give --out elsewhere")],
        )
    cleared = [here / name for name in PRODUCTS if flight is None or name != SURVEY]
    for given in (flight, bundle):
        if given is not None and any(given.resolve().is_relative_to(place) for place in cleared):
            raise OperatorError(
                f"{given} is among the products that the walk removes from {out}",
                [Problem("it would be gone before it is read", "copy it, or give --out elsewhere")],
            )


def _lock(marker: TextIO, out: Path) -> None:
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OperatorError(
            f"another walk is at work in {out}",
            [Problem("two would write the same files", "wait for it, or give --out elsewhere")],
        ) from error


def _clear(out: Path, names: Iterable[str]) -> None:
    for name in names:
        if name in (SURVEY, STORE):
            _remove(out / name)
        elif name == DATABASE:
            for pattern in BESIDE_DATABASE:
                for path in list(out.glob(f"{DATABASE}{pattern}")):
                    _remove(path)
        elif name in PRODUCTS:
            _remove(out / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
