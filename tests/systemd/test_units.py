"""The shipped units: what they promise, whether systemd takes them, how far they shut us in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from operations.errors import ExitCode

UNITS = ("edge-agent-filter.service", "edge-agent-sync.service", "server-sync.service")
EXPOSURE_LIMIT = 3.0
STUB_TARGETS = ("sysinit", "basic", "network", "shutdown", "multi-user")

Unit = dict[str, dict[str, list[str]]]


@pytest.fixture(params=UNITS)
def unit_file(request: pytest.FixtureRequest, repository: Path) -> Path:
    """Each shipped unit in turn."""
    return repository / "systemd" / str(request.param)


def read(file: Path) -> Unit:
    """Section to key to values in order; systemd allows a key several times."""
    unit: Unit = {}
    section = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            unit[section] = {}
        elif line and not line.startswith("#"):
            key, value = line.split("=", 1)
            unit[section].setdefault(key, []).append(value)
    return unit


def seconds(value: str) -> int:
    """A time span; our units write plain seconds."""
    assert value.isdigit(), value
    return int(value)


def analyzer() -> str:
    """The systemd-analyze on the PATH; the test skips without."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not on the PATH (Debian: apt install systemd)")
    return found


def test_a_service_is_watched_limited_and_restarted(unit_file: Path) -> None:
    """Readiness and watchdog by notification, a memory limit, restarts, but not on misuse."""
    unit = read(unit_file)
    service = unit["Service"]
    expected = {
        "Type": ["notify"],
        "NotifyAccess": ["main"],
        "User": ["tilesift"],
        "StateDirectory": ["tilesift"],
        "Restart": ["on-failure"],
        "RestartPreventExitStatus": ["2"],
        "CapabilityBoundingSet": [""],
        "NoNewPrivileges": ["yes"],
        "ProtectSystem": ["strict"],
        "MemoryDenyWriteExecute": ["yes"],
    }
    assert {key: service.get(key) for key in expected} == expected
    assert re.fullmatch(r"\d+[MG]", service["MemoryMax"][0])
    assert seconds(service["WatchdogSec"][0]) >= 30
    assert unit["Install"]["WantedBy"] == ["multi-user.target"]


def test_no_fault_keeps_a_service_down_for_ever(unit_file: Path) -> None:
    """A device in the air has nobody to reset a start limit: it tries again, unhurried, always."""
    unit = read(unit_file)
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert "StartLimitBurst" not in unit["Unit"] | unit["Service"]
    assert 10 <= seconds(unit["Service"]["RestartSec"][0]) <= 30


def test_only_wrong_flags_or_settings_end_the_restarts(unit_file: Path) -> None:
    """A missing broker, bundle or disk may come back; the settings file does not mend itself."""
    service = read(unit_file)["Service"]
    assert service["RestartPreventExitStatus"] == [str(int(ExitCode.USAGE))]
    # As services the programs end with 0 when they are stopped: no other code is a success.
    assert "SuccessExitStatus" not in service


def test_the_filter_has_no_network(repository: Path) -> None:
    """Imagery parsers meet foreign files, so the filter gets neither interfaces nor sockets."""
    service = read(repository / "systemd" / "edge-agent-filter.service")["Service"]
    assert service["PrivateNetwork"] == ["yes"]
    assert service["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert service["IPAddressDeny"] == ["any"]


def test_filter_and_sync_share_user_and_state(repository: Path) -> None:
    """One SQLite file between two processes needs one owner, known to sysusers and tmpfiles."""
    services = [read(repository / "systemd" / name)["Service"] for name in UNITS[:2]]
    assert services[0]["User"] == services[1]["User"] == ["tilesift"]
    assert services[0]["StateDirectory"] == services[1]["StateDirectory"] == ["tilesift"]
    users = (repository / "systemd/sysusers.d/tilesift.conf").read_text(encoding="utf-8")
    assert re.search(r"^u tilesift - ", users, re.MULTILINE)
    folders = (repository / "systemd/tmpfiles.d/tilesift.conf").read_text(encoding="utf-8")
    watched = services[0]["ExecStart"][0].split("--watch ")[1].split()[0]
    assert re.search(rf"^d {watched} +2770 tilesift tilesift ", folders, re.MULTILINE)


def test_the_commands_know_the_options_the_units_give(unit_file: Path) -> None:
    """Each ExecStart line is one that the command line of this version takes."""
    command = read(unit_file)["Service"]["ExecStart"][0].split()
    program = Path(sys.executable).with_name(Path(command[0]).name)
    assert program.is_file(), f"{program} is not installed"
    done = subprocess.run(
        [program, command[1], "--help"], capture_output=True, text=True, check=True,
        env={"COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip
    options = [word for word in command if word.startswith("--")]
    assert options
    assert [option for option in options if option not in done.stdout] == []


def test_systemd_takes_the_unit_without_a_word(unit_file: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to say in a root where the programs are installed."""
    tool = analyzer()
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for target in STUB_TARGETS:
        (units / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    shutil.copy(unit_file, units)
    program = Path(read(unit_file)["Service"]["ExecStart"][0].split()[0])
    stub = tmp_path / program.relative_to("/")
    stub.parent.mkdir(parents=True)
    stub.write_text("#!/bin/sh\n")
    stub.chmod(0o755)
    done = subprocess.run(
        [tool, "verify", "--man=no", f"--root={tmp_path}", str(units / unit_file.name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_sandbox_holds_exposure_below_the_limit(unit_file: Path) -> None:
    """`systemd-analyze security` rates the unit 3.0 or better (0 is shut, 10 is open)."""
    tool = analyzer()
    done = subprocess.run(
        [tool, "security", "--offline=true", "--no-pager", str(unit_file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    level = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    if level is None:
        pytest.skip(f"this systemd-analyze rates no unit files: {done.stderr.strip()}")
    assert float(level.group(1)) <= EXPOSURE_LIMIT
