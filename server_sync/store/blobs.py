"""Payloads by the SHA-256 of their bytes; what is there is whole.

Writing is in two steps, so that the payloads of one commit share their waits for the disk: `put`
stages, `flush` makes all that is staged durable.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_SYNC_THREADS = 8
"""They only wait for the disk, which takes several requests at once."""


class Blobs(Protocol):
    """Where payloads live. Putting the same bytes twice is putting them once."""

    def put(self, data: bytes) -> str:
        """Stage `data` for the next `flush`; its SHA-256 in hex.

        Raises:
            OSError: it could not be kept; nothing of it is visible.
        """
        ...

    def flush(self) -> None:
        """Make all that is staged durable, bytes and names, before returning.

        Raises:
            OSError: not all could be kept; what is visible is whole, and the rest is as if it had
                never been put.
        """
        ...

    def discard(self) -> None:
        """Forget what is staged."""
        ...

    def get(self, sha256: str) -> bytes:
        """The bytes.

        Raises:
            KeyError: no such blob.
        """
        ...

    def has(self, sha256: str) -> bool:
        """Whether the bytes are there, or staged."""
        ...

    def free_bytes(self) -> int | None:
        """Room left, None where there is no telling."""
        ...


class BlobFolder:
    """Blobs as files: `ab/cdef...`, complete from the moment their name appears.

    One thread writes; any number read.
    """

    def __init__(self, root: Path) -> None:
        """Make the folder.

        Raises:
            OSError: it cannot be made or written.
        """
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._staged: dict[str, Path] = {}
        self._seen: set[Path] = set()
        """Folders of blobs found in place: their names may be another worker's, not yet durable."""
        self._lasting: set[Path] = set()
        """Folders whose own names are known to be durable."""

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in self._staged:
            return sha256
        target = self._path(sha256)
        try:
            if target.stat().st_size == len(data):
                self._seen.add(target.parent)
                return sha256
        except FileNotFoundError:
            pass
        self._staged[sha256] = self._stage(data)
        return sha256

    def flush(self) -> None:
        """Bytes on disk, then names, then names on disk: a crash leaves no name without bytes."""
        if not self._staged and not self._seen:
            return
        try:
            targets = {sha256: self._path(sha256) for sha256 in self._staged}
            folders = self._seen | {target.parent for target in targets.values()}
            self._make(folders - self._lasting)
            _each(_sync, self._staged.values())
            for sha256, target in targets.items():
                self._staged[sha256].replace(target)
            _each(_sync, folders)
        except OSError:
            self.discard()
            raise
        self._staged.clear()
        self._seen.clear()

    def discard(self) -> None:
        for temporary in self._staged.values():
            temporary.unlink(missing_ok=True)
        self._staged.clear()
        self._seen.clear()

    def get(self, sha256: str) -> bytes:
        try:
            return self._path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(sha256) from error

    def has(self, sha256: str) -> bool:
        return sha256 in self._staged or self._path(sha256).is_file()

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

    def _stage(self, data: bytes) -> Path:
        handle, name = tempfile.mkstemp(dir=self._incoming)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, 0o640)
                file.write(data)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _make(self, folders: set[Path]) -> None:
        """Make folders that are not there, and all their names durable."""
        if not folders:
            return
        for folder in folders:
            folder.mkdir(exist_ok=True)
        _sync(self.root)
        self._lasting |= folders

    def _path(self, sha256: str) -> Path:
        if not _SHA256_HEX.fullmatch(sha256):
            raise KeyError(sha256)
        return self.root / sha256[:2] / sha256[2:]


def _each(work: Callable[[Path], None], paths: Iterable[Path]) -> None:
    """Do it for all at the same time; raises the first error once all are done."""
    chosen = list(paths)
    if len(chosen) == 1:
        work(chosen[0])
    elif chosen:
        with ThreadPoolExecutor(min(_SYNC_THREADS, len(chosen)), "sync") as threads:
            results = [threads.submit(work, path) for path in chosen]
        for result in results:
            result.result()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
