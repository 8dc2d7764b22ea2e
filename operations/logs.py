"""One line per log record on stderr, for people at a terminal and for the journal alike.

Terminal or file: `2026-01-02T03:04:05.678Z INFO edge_agent.filter opened frame=DJI_0042.JPG`.
Journal: `<6>edge_agent.filter opened ...`; it keeps the time itself and reads the level from the
prefix (sd-daemon(3)).
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import PurePath

from operations.errors import Problem, SettingsError

VARIABLE = "TILESIFT_LOG"
LEVELS = ("debug", "info", "warning", "error")
OURS = ("demo", "edge_agent", "operations", "server_sync", "sync_protocol")
"""Packages whose records follow the chosen level; the rest speak up from a warning on."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(level: str | None = None) -> None:
    """Send all records to stderr; the level is `level`, else TILESIFT_LOG, else info.

    Raises:
        SettingsError: no such level.
    """
    name = (level or os.environ.get(VARIABLE) or "info").lower()
    if name not in LEVELS:
        origin = "--log-level" if level else VARIABLE
        raise SettingsError(
            f'{origin}: there is no log level "{name}"',
            [Problem("unknown log level", "give one of " + ", ".join(LEVELS))],
        )
    number = logging.getLevelNamesMapping()[name.upper()]
    handler = _Stderr()
    handler.setFormatter(OneLine(journal=under_journal(), tracebacks=name == "debug"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
    for package in OURS:
        logging.getLogger(package).setLevel(number)


def under_journal() -> bool:
    """True if stderr is the very stream that systemd connected to the journal.

    JOURNAL_STREAM alone is inherited by whatever a service starts, with stderr sent elsewhere;
    so its device and inode are compared, as systemd.exec(5) asks.
    """
    try:
        device, inode = os.environ.get("JOURNAL_STREAM", "").split(":")
        stream = os.fstat(sys.stderr.fileno())
        return (stream.st_dev, stream.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):  # no such variable, or stderr is no file
        return False


class OneLine(logging.Formatter):
    """A record as one line; values given as `extra` follow as key=value."""

    def __init__(self, *, journal: bool, tracebacks: bool) -> None:
        super().__init__()
        self._journal = journal
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        parts = [record.name, record.getMessage()]
        parts += [f"{k}={_value(v)}" for k, v in vars(record).items() if k not in _STANDARD]
        if record.exc_info and record.exc_info[1] is not None:
            parts.append(self._error(record.exc_info[1]))
        line = _escaped(" ".join(parts))
        if self._journal:
            return f"<{_syslog(record.levelno)}>{line}"
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return f"{moment.removesuffix('+00:00')}Z {record.levelname} {line}"

    def _error(self, error: BaseException) -> str:
        if self._tracebacks:
            return "traceback=" + "".join(traceback.format_exception(error)).strip()
        text = f"error={_value(f'{type(error).__name__}: {error}')}"
        frames = traceback.extract_tb(error.__traceback__)
        if not frames:
            return text
        return f"{text} at={PurePath(frames[-1].filename).name}:{frames[-1].lineno}"


class _Stderr(logging.Handler):
    """Looks stderr up for each record: a progress bar puts its own in place while it runs."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError, TypeError):  # closed stderr, or a message that won't format
            self.handleError(record)


def _syslog(level: int) -> int:
    """The severity of syslog(3)."""
    if level >= logging.CRITICAL:
        return 2
    if level >= logging.ERROR:
        return 3
    if level >= logging.WARNING:
        return 4
    return 6 if level >= logging.INFO else 7


def _value(value: object) -> str:
    text = str(value)
    if text and not any(c.isspace() or c in '"=' for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    """One printable line: a name from a file or the network cannot forge a line or a colour."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    if character == "\n":
        return "\\n"
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
