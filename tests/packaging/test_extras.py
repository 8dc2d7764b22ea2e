"""A program installed without its extra says which one it needs; each extra alone is enough."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MAINS = {"edge": "edge_agent.cli", "server": "server_sync.cli"}
# Refuses every module whose top level is among the arguments before "--", then runs main.
WITHOUT = """
import importlib, sys
split = sys.argv.index("--")
refused = set(sys.argv[2:split])
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
module, sys.argv = sys.argv[1], ["program", *sys.argv[split + 1 :]]
importlib.import_module(module).main()
"""


def run_without(
    module: str, refused: set[str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a program's main where some modules are not installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, module, *sorted(refused), "--", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def closure(project: dict[str, Any], *extras: str) -> set[str]:
    """Names of all distributions that an install with these extras brings."""
    wanted = [Requirement(line) for line in project["dependencies"]]
    for extra in extras:
        wanted += [Requirement(line) for line in project["optional-dependencies"][extra]]
    found: set[str] = set()
    asked: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        requirement = wanted.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in asked:
            continue
        asked.add(key)
        if key[0] == "tilesift":
            for extra in requirement.extras:
                wanted += [Requirement(line) for line in project["optional-dependencies"][extra]]
            continue
        found.add(key[0])
        for line in distribution(requirement.name).requires or ():
            inner = Requirement(line)
            here = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
            if inner.marker is None or any(inner.marker.evaluate(given) for given in here):
                wanted.append(inner)
    return found


def modules(names: set[str]) -> set[str]:
    """Top-level modules of installed distributions."""
    found: set[str] = set()
    for name in names:
        for file in distribution(name).files or ():
            top = file.parts[0]
            if file.suffix == ".py" and "." not in top.removesuffix(".py"):
                found.add(top.removesuffix(".py"))
    return found


@pytest.mark.parametrize("extra", MAINS)
def test_a_program_without_its_extra_says_which(extra: str, project: dict[str, Any]) -> None:
    """With the base dependencies alone: exit code 3, what to install, and no traceback."""
    refused = modules(closure(project, extra)) - modules(closure(project))
    done = run_without(MAINS[extra], refused, "--help")
    assert done.returncode == 3
    assert f"pip install 'tilesift[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("extra", "other"), [("edge", "server"), ("server", "edge")])
def test_a_program_needs_no_library_of_the_other(
    extra: str, other: str, project: dict[str, Any]
) -> None:
    """The extra `edge` alone runs edge-agent, `server` alone server-sync, down to a command."""
    refused = modules(closure(project, other)) - modules(closure(project, extra))
    assert refused
    command = ("status", "--database", "/nonexistent/edge.db")
    if extra == "server":
        command = ("samples", "list", "--data", "/nonexistent")
    done = run_without(MAINS[extra], refused, *command)
    assert done.returncode == 3
    assert "pip install" not in done.stderr
    assert "/nonexistent" in done.stderr


@pytest.mark.parametrize("extra", MAINS)
def test_a_missing_module_of_our_own_is_a_fault(extra: str) -> None:
    """A broken install of the program itself is not explained away as a missing extra."""
    done = run_without(MAINS[extra], {"sync_protocol"}, "--help")
    assert done.returncode == 1
    assert "pip install" not in done.stderr


def test_the_embedded_broker_needs_nothing_of_the_device(project: dict[str, Any]) -> None:
    """The extra `broker` brings the base with its broker, and neither inference nor rasters."""
    brought = closure(project, "broker")
    assert {"amqtt", "sqlalchemy"} <= brought
    assert brought & {"onnxruntime", "rasterio", "numpy"} == set()
