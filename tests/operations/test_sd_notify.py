"""The service manager hears what sd_notify(3) promises, over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from operations import sd_notify


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A service manager's end of the socket, by path and in the abstract namespace."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@tilesift-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(name.replace("@", "\0", 1))
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield channel


def test_each_call_is_one_datagram_of_the_protocol(manager: socket.socket) -> None:
    """ready, status, watchdog and stopping say what systemd reads, one line per assignment."""
    assert sd_notify.ready("waiting for frames")
    assert sd_notify.status("frame 3\nof 12")
    assert sd_notify.watchdog()
    assert sd_notify.stopping()
    assert [manager.recv(4096) for _ in range(4)] == [
        b"READY=1\nSTATUS=waiting for frames",
        b"STATUS=frame 3 of 12",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_progress_pings_at_most_every_third_of_the_interval(manager: socket.socket) -> None:
    """Of reports each second under a 9 s watchdog every third goes out; silence sends nothing."""
    now = iter(float(second) for second in range(10))
    progress = sd_notify.Progress(interval_s=9.0, clock=lambda: next(now))
    sent = [progress.made(f"tile {number}") for number in range(10)]
    assert sent == [True, False, False] * 3 + [True]
    heard = [manager.recv(4096) for _ in range(4)]
    assert heard == [f"WATCHDOG=1\nSTATUS=tile {number}".encode() for number in (0, 3, 6, 9)]
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


def test_progress_takes_the_interval_of_the_environment(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WATCHDOG_USEC switches the pings on."""
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert sd_notify.watchdog_interval_s() == 30.0
    assert sd_notify.Progress().made()
    assert manager.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("microseconds", "pid"), [("", ""), ("0", ""), ("soon", ""), ("-5", ""), ("30000000", "1")]
)
def test_no_watchdog_for_this_process_means_no_pings(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str
) -> None:
    """An absent, zero or broken interval, or that of another process, keeps progress silent."""
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert sd_notify.watchdog_interval_s() is None
    assert not sd_notify.Progress().made()


def test_without_a_service_manager_every_call_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run by hand, or with a socket of a kind not spoken here, nobody is told and nothing fails."""
    for address in (None, "", "vsock:2:1234"):
        if address is None:
            monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        else:
            monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert not sd_notify.ready()
        assert not sd_notify.Progress(interval_s=9.0).made()


def test_a_service_manager_that_is_gone_does_not_stop_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A dead socket is logged and otherwise ignored."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not sd_notify.watchdog()
    assert "cannot notify" in caplog.text
