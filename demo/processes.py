"""The parts of the walk as child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

READY_S = 60.0
STOP_S = 15.0

BIN = Path(sys.executable).parent


class StepError(RuntimeError):
    """A step of the walk ended badly; its own message stands above on stderr."""


def tethered(command: str, *arguments: str) -> list[str]:
    """The command line of one of our commands, as a child that does not outlive this process."""
    tether = str(Path(__file__).with_name("tether.py"))
    return [sys.executable, tether, f"{os.getpid()}", str(BIN / command), *arguments]


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for one that does not listen; returns when it is gone."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_json(command: str, *arguments: str, allowed: tuple[int, ...] = (0,)) -> Any:
    """Run one of our commands to its end and read the JSON it prints; stderr passes through."""
    process = subprocess.Popen(tethered(command, *arguments, "--json"), stdout=subprocess.PIPE)
    try:
        printed, _ = process.communicate()
    finally:
        end(process)
    if process.returncode not in allowed:
        raise StepError(f"{command} {arguments[0]} ended with exit code {process.returncode}")
    return json.loads(printed)


class Server:
    """`server-sync serve` with its embedded broker, on free loopback ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready = folder / "ready.json"
        self._process: subprocess.Popen[bytes] | None = None
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Server:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._ready.unlink(missing_ok=True)
        log = (self._folder / "server.log").open("ab")
        arguments = ["serve", "--data", str(self._folder), "--embedded-broker", "127.0.0.1:0"]
        arguments += ["--web", "127.0.0.1:0", "--ready-file", str(self._ready)]
        with log:
            self._process = subprocess.Popen(
                tethered("server-sync", *arguments), stdin=subprocess.DEVNULL, stderr=log
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def wait(self) -> None:
        """Until the server ends or Ctrl-C."""
        if self._process is not None:
            self._process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self._ready.exists():
                self.addresses = json.loads(self._ready.read_text(encoding="utf-8"))
                return
            if self._process is not None and self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise StepError(f"server-sync did not come up; see {self._folder / 'server.log'}")

    def _stop(self) -> None:
        if self._process is not None:
            end(self._process)
