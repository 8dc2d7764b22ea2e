"""Tell systemd how a service is doing, and feed its watchdog by progress alone.

Protocol: sd_notify(3). Without NOTIFY_SOCKET in the environment every call does nothing, so the
same program runs under systemd and by hand.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)

_SEND_TIMEOUT_S = 1.0


def ready(status: str = "") -> bool:
    """Start-up is over, the work begins. True if a service manager was told."""
    return _send("READY=1", *_status_line(status))


def status(text: str) -> bool:
    """One line that `systemctl status` shows. True if a service manager was told."""
    return _send(*_status_line(text or "-"))


def watchdog() -> bool:
    """A sign of life. True if a service manager was told."""
    return _send("WATCHDOG=1")


def stopping(status: str = "") -> bool:
    """The service shuts down in good order. True if a service manager was told."""
    return _send("STOPPING=1", *_status_line(status))


def watchdog_interval_s() -> float | None:
    """Seconds after which systemd gives the service up, or None where no watchdog is on."""
    pid = os.environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6


@contextmanager
def long_step(allowed_s: float) -> Iterator[None]:
    """A step that may take up to `allowed_s` and cannot report in between.

    Starting up may take that much longer, and the watchdog waits; afterwards it is as before.
    """
    microseconds = int(allowed_s * 1e6)
    interval_s = watchdog_interval_s()
    lines = [f"EXTEND_TIMEOUT_USEC={microseconds}"]
    if interval_s is not None:
        lines.append(f"WATCHDOG_USEC={max(microseconds, int(interval_s * 1e6))}")
    _send(*lines)
    try:
        yield
    finally:
        if interval_s is not None:
            _send(f"WATCHDOG_USEC={int(interval_s * 1e6)}", "WATCHDOG=1")


class Progress:
    """Feeds the watchdog from the work loop: a loop that hangs is a loop that starves it.

    Never call this from a timer or a thread of its own: it would vouch for work not done.
    """

    def __init__(
        self,
        interval_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval_s` is the watchdog's, in seconds; that of the environment if None."""
        interval = watchdog_interval_s() if interval_s is None else interval_s
        self._pause_s = None if interval is None else interval / 3
        self._clock = clock
        self._last_s: float | None = None

    def made(self, text: str = "") -> bool:
        """Work went forward; pings at most every third of the interval.

        `text`, where given, becomes the status line with the same ping. Returns True if a ping
        went out.
        """
        if self._pause_s is None:
            return False
        now = self._clock()
        if self._last_s is not None and now - self._last_s < self._pause_s:
            return False
        self._last_s = now
        return _send("WATCHDOG=1", *_status_line(text))


def _status_line(text: str) -> list[str]:
    return ["STATUS=" + " ".join(text.split())] if text else []


def _send(*lines: str) -> bool:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(_SEND_TIMEOUT_S)
            channel.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        # The work matters more than the report of it; the watchdog acts if this lasts.
        _log.warning("cannot notify the service manager: %s", error)
        return False
    return True
