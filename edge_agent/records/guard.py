"""Who has the database open, and is it suspected of damage? Two small files beside it answer.

`NAME.lock` is locked shared by all that write to the database and exclusively by the one that
moves it aside (flock(2): the kernel lets go when a process dies). `NAME.suspect` asks all of them
to close it, so that it can be moved while the others keep running.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Guard:
    """This process's hold on the database at `path`."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the lock file can be neither made nor opened."""
        self.suspect_file = path.with_name(path.name + ".suspect")
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(path.with_name(path.name + ".lock"), flags, 0o644)

    def share(self) -> bool:
        """Hold it with others; False while somebody moves it aside."""
        return self._lock(fcntl.LOCK_SH)

    def take(self) -> bool:
        """Hold it alone; False while others have it open."""
        return self._lock(fcntl.LOCK_EX)

    def release(self) -> None:
        """Hold it no longer."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go for good."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def suspect(self) -> bool:
        """Is the database to be closed, because somebody found damage?"""
        return self.suspect_file.exists()

    def mark_suspect(self) -> None:
        """Ask everybody to close the database. Raises OSError where that cannot be written."""
        self.suspect_file.touch()

    def clear_suspect(self) -> None:
        """The database is a sound one again."""
        self.suspect_file.unlink(missing_ok=True)

    def _lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
