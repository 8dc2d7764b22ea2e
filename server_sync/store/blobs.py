"""Payloads by the SHA-256 of their bytes; what is there is whole."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Protocol

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


class Blobs(Protocol):
    """Where payloads live. Putting the same bytes twice is putting them once."""

    def put(self, data: bytes) -> str:
        """Keep `data`, durably, before returning its SHA-256 in hex.

        Raises:
            OSError: it could not be kept; nothing of it is visible.
        """
        ...

    def get(self, sha256: str) -> bytes:
        """The bytes.

        Raises:
            KeyError: no such blob.
        """
        ...

    def has(self, sha256: str) -> bool:
        """Whether the bytes are there."""
        ...

    def free_bytes(self) -> int | None:
        """Room left, None where there is no telling."""
        ...


class BlobFolder:
    """Blobs as files: `ab/cdef...`, complete from the moment their name appears."""

    def __init__(self, root: Path) -> None:
        """Make the folder.

        Raises:
            OSError: it cannot be made or written.
        """
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        target = self._path(sha256)
        try:
            if target.stat().st_size == len(data):
                return sha256
        except FileNotFoundError:
            pass
        if not target.parent.is_dir():
            target.parent.mkdir(exist_ok=True)
            _sync_folder(self.root)
        self._write(target, data)
        return sha256

    def get(self, sha256: str) -> bytes:
        try:
            return self._path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(sha256) from error

    def has(self, sha256: str) -> bool:
        return self._path(sha256).is_file()

    def free_bytes(self) -> int | None:
        state = os.statvfs(self.root)
        return state.f_bavail * state.f_frsize

    def sweep(self, now_s: float, older_than_s: float = 3600.0) -> int:
        """Remove what a crash left half-written; young files may be another worker's."""
        removed = 0
        for file in self._incoming.iterdir():
            if now_s - file.stat().st_mtime > older_than_s:
                file.unlink(missing_ok=True)
                removed += 1
        return removed

    def _write(self, target: Path, data: bytes) -> None:
        """Temporary file, its bytes on disk, the name, the name on disk: in that order."""
        handle, name = tempfile.mkstemp(dir=self._incoming)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), 0o640)
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)

    def _path(self, sha256: str) -> Path:
        if not _SHA256_HEX.fullmatch(sha256):
            raise KeyError(sha256)
        return self.root / sha256[:2] / sha256[2:]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
