"""Named arrays in an .npz file: read with suspicion, written whole or not at all."""

from __future__ import annotations

import contextlib
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from operations.errors import OperatorError, Problem

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

MAX_BYTES: Final = 8 * 2**30
"""Of all arrays of a file together, unless the caller knows better."""
_MAX_ARRAYS: Final = 256
_KINDS: Final = "biufU"
"""Truth values, whole numbers, floats, text: nothing that runs code when it is read."""
_SUFFIX: Final = ".npy"
_DAMAGED: Final = (
    OSError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    SyntaxError,  # a header whose type is no type
    tokenize.TokenError,  # a header that is no Python literal
    RuntimeError,  # an encrypted entry, an unknown compression, a header nested too deeply
    OverflowError,  # a shape beyond 64 bits
    MemoryError,  # the parser's, on a hostile header: the arrays' own size is checked before
)


class ArraysFileError(OperatorError):
    """A file of arrays that cannot be read or written; it says why."""


def read_npz(path: Path, *, max_bytes: int = MAX_BYTES) -> Arrays:
    """All arrays of the .npz at `path`, by name.

    Every header is read before any data, so that a small file which unpacks to more than
    `max_bytes` costs no memory. Pickled objects are refused.

    Raises:
        ArraysFileError: the file is missing, damaged, too large, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive)
            declared = sum(_declared_bytes(archive, entry) for entry in entries)
            if declared > max_bytes:
                raise ValueError(f"{declared} bytes of arrays, more than the {max_bytes} allowed")
            return {_name(entry): _array(archive, entry) for entry in entries}
    except FileNotFoundError as error:
        problem = Problem(f"{path}: no such file", "check the path")
        raise ArraysFileError(f"cannot read {path}", [problem]) from error
    except _DAMAGED as error:
        raise ArraysFileError(
            f"cannot read {path}", [Problem(f"{path.name}: {_reason(error)}", "is it complete?")]
        ) from error


def write_npz(path: Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write `arrays` to `path`, which holds either the old content or all of the new.

    Equal arrays give equal bytes, on any machine: sorted, uncompressed, without times.

    Raises:
        ArraysFileError: the disk or the folder refuses.
        ValueError: an array holds objects, or there are too many to be read again.
    """
    plain = {name: _plain(name, values) for name, values in sorted(arrays.items())}
    if len(plain) > _MAX_ARRAYS:
        raise ValueError(f"{len(plain)} arrays, at most {_MAX_ARRAYS} can be read again")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            _write(file, plain)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        hint = "check the folder, its permissions and its space"
        raise ArraysFileError(
            f"cannot write {path}", [Problem(error.strerror or str(error), hint)]
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > _MAX_ARRAYS:
        raise ValueError(f"{len(entries)} arrays, more than {_MAX_ARRAYS}")
    seen: set[str] = set()
    for entry in entries:
        if not entry.filename.endswith(_SUFFIX) or not _name(entry):
            raise ValueError(f"{entry.filename!r} is no array")
        if entry.filename in seen:
            raise ValueError(f"{_name(entry)} stands twice")
        seen.add(entry.filename)
    return entries


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(_SUFFIX)


def _declared_bytes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"{_name(entry)} has the unknown format {version}")
    if dtype.kind not in _KINDS:
        raise ValueError(f"{_name(entry)} holds {dtype}, not numbers or text")
    if any(length < 0 for length in shape):
        raise ValueError(f"{_name(entry)} has the shape {shape}")
    return math.prod(shape) * max(dtype.itemsize, 1)


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(entry) as stream:
        values: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        # Only at its end is an entry's checksum compared.
        if stream.read(1):
            raise ValueError(f"{_name(entry)} goes on after its last value")
    return values


def _plain(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(values, order="C")
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"{name} holds {array.dtype}, not numbers or text")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _write(file: IO[bytes], arrays: Arrays) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, values in arrays.items():
            entry = zipfile.ZipInfo(name + _SUFFIX)  # dated 1980, whenever it is written
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, values, version=(1, 0), allow_pickle=False)


def _sync_folder(folder: Path) -> None:
    """The new name, too, must survive a power cut."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
