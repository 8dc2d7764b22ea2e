"""The whole path as real processes: imagery, brokers, and children that can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_json(command: str, *arguments: str, allowed: tuple[int, ...] = (0,)) -> Any:
    """Run a command to its end; the JSON it prints."""
    done = subprocess.run(
        [str(BIN / command), *arguments, "--json"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode in allowed, done.stderr
    return json.loads(done.stdout)


class Child:
    """A process that can be started, killed without warning, and started again."""

    def __init__(self, log: Path, *command: str) -> None:
        self._command = [str(part) for part in command]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.kills = 0

    def start(self) -> None:
        """Start it, its stderr appended to the log."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, as a power cut would; counted when the process was at work."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGKILL)
            self.kills += 1
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM and its exit code; killed when it does not listen."""
        if self._process is None:
            return 0
        if self.running:
            self._process.terminate()
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def wait(self, timeout_s: float) -> int:
        """Its exit code once it has ended by itself."""
        assert self._process is not None
        return self._process.wait(timeout_s)


@pytest.fixture
def children() -> Iterator[Callable[..., Child]]:
    """Makes children; all of them are gone when the test is over."""
    made: list[Child] = []

    def make(log: Path, *command: str) -> Child:
        child = Child(log, *command)
        made.append(child)
        return child

    yield make
    for child in made:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.stop()


@pytest.fixture(scope="session")
def flight(shared_data: Path) -> Path:
    """Twelve overlapping frames of a real drone."""
    return shared_data / "flight_brighton_beach" / "half"


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def broker(
    request: pytest.FixtureRequest, tmp_path: Path, children: Callable[..., Child]
) -> tuple[str, list[str]]:
    """A broker's address, and the flags with which `server-sync serve` uses it."""
    address = f"127.0.0.1:{free_port()}"
    if request.param == "embedded":
        return address, ["--embedded-broker", address]
    search = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    program = shutil.which("mosquitto", path=search)
    if program is None:
        pytest.skip("mosquitto is not on the PATH")
    config = tmp_path / "mosquitto.conf"
    port = address.rpartition(":")[2]
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    child = children(tmp_path / "mosquitto.log", program, "-c", str(config))
    child.start()
    wait_for_port(address)
    return address, ["--broker", address]


def wait_for_port(address: str, timeout_s: float = 30.0) -> None:
    """Until something listens there."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens at {address}")


@pytest.fixture
def run_command() -> Callable[..., Any]:
    """Runs one of our commands to its end and reads its JSON."""
    return run_json
