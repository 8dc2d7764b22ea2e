"""The services as systemd sees them: ready, alive while they wait, stopped in good order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

START_S = 60.0
PROGRAMS = Path(sys.executable).parent


class Manager:
    """The service manager's end: starts one service, hears its datagrams."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(0.2)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *command: object) -> None:
        """Start a service whose watchdog bites after 1.5 s without a ping."""
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self._folder / "notify"),
            "WATCHDOG_USEC": "1500000",
        }
        with (self._folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / str(command[0]), *map(str, command[1:])],
                cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def hear(self, wanted: bytes) -> None:
        """Return once `wanted` is among the assignments heard."""
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while True:
            running = self.process.poll() is None
            try:
                if wanted in self._socket.recv(4096).splitlines():
                    return
            except TimeoutError:
                assert running, f"ended without {wanted!r}: {self.log()}"
            assert time.monotonic() < deadline, f"never heard {wanted!r}: {self.log()}"

    def log(self) -> str:
        """What the service printed."""
        return (self._folder / "log").read_text(errors="replace")

    def close(self) -> None:
        """End what still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A manager in a folder of its own."""
    made = Manager(tmp_path)
    yield made
    made.close()


def stop_in_good_order(manager: Manager) -> None:
    """Ready was heard, three idle pings follow, and SIGTERM ends in STOPPING and exit code 0."""
    process = manager.process
    assert process is not None
    manager.hear(b"READY=1")
    for _ in range(3):
        manager.hear(b"WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    manager.hear(b"STOPPING=1")
    assert process.wait(START_S) == 0, manager.log()


def edge_settings(folder: Path, repository: Path, port: int) -> Path:
    """Settings of a device at the bench; JSON's strings are TOML's."""
    file = folder / "edge.toml"
    file.write_text(
        f"[survey]\nbundle = {json.dumps(str(repository / 'models/rehearsal'))}\n"
        f"[records]\ndatabase = {json.dumps(str(folder / 'edge.db'))}\n"
        f'[uplink]\ndevice = "bench"\n[broker]\nport = {port}\n'
    )
    return file


def unused_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_filter_is_alive_while_no_imagery_comes(
    manager: Manager, tmp_path: Path, repository: Path
) -> None:
    """Watching an empty folder is progress: the watchdog does not bite a waiting filter."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    config = edge_settings(tmp_path, repository, unused_port())
    manager.start("edge-agent", "filter", "--watch", incoming, "--config", config)
    stop_in_good_order(manager)


def test_sync_is_alive_while_there_is_no_link(
    manager: Manager, tmp_path: Path, repository: Path
) -> None:
    """Hours without a broker are a device's daily life: sync waits, and says that it lives."""
    config = edge_settings(tmp_path, repository, unused_port())
    manager.start("edge-agent", "sync", "--config", config)
    stop_in_good_order(manager)


def test_the_base_is_alive_while_no_device_calls(manager: Manager, tmp_path: Path) -> None:
    """A base without traffic pings all the same, from the loop that would take samples in."""
    manager.start(
        "server-sync", "serve", "--data", tmp_path / "store",
        "--embedded-broker", "127.0.0.1:0", "--web", "127.0.0.1:0",
    )  # fmt: skip
    stop_in_good_order(manager)
