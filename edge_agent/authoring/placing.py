"""A bundle's folder: written beside its place, tried out there, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from edge_agent.authoring.errors import AuthoringError
from edge_agent.inference.bundle import BUNDLE_FILE
from operations.errors import Problem

CARD_FILE: Final = "MODEL_CARD.md"

Result = TypeVar("Result")


def place_problems(out: Path, force: bool) -> list[Problem]:
    """Why the bundle cannot be put at `out`."""
    if not out.exists():
        return []
    if not out.is_dir():
        return [Problem(f"{out} is a file", "give a folder with --out")]
    present = [entry.name for entry in out.iterdir()]
    if not present:
        return []
    if BUNDLE_FILE not in present:
        return [Problem(f"{out} holds files and is no bundle", "give a new folder with --out")]
    if not force:
        return [Problem(f"{out} is a bundle already", "--force replaces it, calibration included")]
    return []


def put_whole(out: Path, fill: Callable[[Path], Result]) -> Result:
    """Let `fill` write a new folder and try it out, then put that at `out`, all or nothing.

    Raises:
        AuthoringError: it cannot be written.
        Whatever `fill` raises; nothing was changed then.
    """
    out = out.absolute()
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        result = fill(part)
        _put(part, out)
    except OSError as error:
        problem = Problem(f"{error.filename or part}: {error.strerror}", "nothing was changed")
        raise AuthoringError(f"cannot write {out}", [problem]) from error
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(part)
    return result


def write_file(path: Path, data: bytes) -> None:
    """Write it and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_file(source: Path, target: Path) -> None:
    """Copy it, whatever its size, and wait until the disk has it."""
    with source.open("rb") as origin, target.open("wb") as file:
        shutil.copyfileobj(origin, file, 2**20)
        file.flush()
        os.fsync(file.fileno())


def _put(part: Path, out: Path) -> None:
    """Rename `part` to `out`; what stood there goes only when the new one is in its place."""
    if not out.exists():
        part.rename(out)
        return
    if not any(out.iterdir()):
        # Somebody may be standing in it. Without bundle.toml, the last, it is no bundle yet.
        for file in sorted(part.iterdir(), key=lambda file: file.name == BUNDLE_FILE):
            file.rename(out / file.name)
        return
    old = part.with_suffix(".old")
    out.rename(old)
    try:
        part.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)
