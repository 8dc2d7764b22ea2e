"""What is declared, pinned and imported agree."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SHIPPED = {"edge_agent", "server_sync", "sync_protocol", "operations"}
OURS = SHIPPED | {"benchmarks", "demo", "tests", "training", "crown_images"}
EXTRAS = {
    "edge_agent": "edge", "server_sync": "server",
    "demo": "demo", "tests": "dev", "benchmarks": "dev", "models": "train",
}  # fmt: skip
DISTRIBUTIONS = {
    "google": "protobuf", "PIL": "pillow", "paho": "paho-mqtt", "importlinter": "import-linter",
    "sklearn": "scikit-learn",
}  # fmt: skip
# The extra bundle: edge-agent bundle create names it where it is not installed.
# The extra report: edge-agent names it where a page is asked for and it is not installed.
# The extra broker: server-sync serve --embedded-broker names it where it is not installed.
# The training loop is tested only where the extra train, too large for a test run, is there.
OPTIONAL = {
    "edge_agent": {"jinja2", "matplotlib", "onnx", "protobuf"},
    "server_sync": {"amqtt"},
    "tests": {"torch"},
}  # fmt: skip
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")


def declared(project: dict[str, Any], extra: str | None = None) -> dict[str, Requirement]:
    """Requirements by name: those of everyone and those of `extra`, our own extras resolved."""
    wanted = list(project["dependencies"])
    if extra is not None:
        wanted += project["optional-dependencies"][extra]
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, wanted):
        if requirement.name == "tilesift":
            for inner in requirement.extras:
                found |= declared(project, inner)
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


def test_every_requirement_is_pinned_once_within_its_bounds(
    project: dict[str, Any], constraint_lines: list[str]
) -> None:
    """On each Python and machine every declared requirement has one pin, and it fits."""
    pins = [Requirement(line) for line in constraint_lines]
    wanted: dict[str, Requirement] = {}
    for extra in project["optional-dependencies"]:
        wanted |= declared(project, extra)
    for python in PYTHONS:
        for machine in MACHINES:
            here = {
                "python_version": python, "python_full_version": f"{python}.0",
                "platform_machine": machine, "sys_platform": "linux", "os_name": "posix",
                "platform_python_implementation": "CPython", "implementation_name": "cpython",
            }  # fmt: skip
            active = [p for p in pins if p.marker is None or p.marker.evaluate(here)]
            names = [canonicalize_name(p.name) for p in active]
            assert len(names) == len(set(names))
            versions: dict[str, str] = {
                canonicalize_name(p.name): str(p.specifier)[2:] for p in active
            }
            assert wanted.keys() <= versions.keys()
            unfit = [n for n, r in wanted.items() if not r.specifier.contains(versions[n])]
            assert unfit == []


def test_the_pins_name_no_index_and_only_exact_versions(constraint_lines: list[str]) -> None:
    """Any package index will do: no option, no address, nothing but `name==version`."""
    for line in constraint_lines:
        requirement = Requirement(line)
        assert requirement.url is None
        assert [clause.operator for clause in requirement.specifier] == ["=="]


def imported(package: Path) -> Iterator[tuple[str, Path]]:
    """Top-level modules that the package's files import, anywhere in them."""
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((alias.name.split(".")[0], file) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0], file


@pytest.mark.parametrize("package", sorted(SHIPPED | EXTRAS.keys()))
def test_whatever_a_package_imports_its_extra_declares(
    package: str, project: dict[str, Any], repository: Path
) -> None:
    """No import relies on what another extra, or a dependency's dependency, happens to bring."""
    names = declared(project, EXTRAS.get(package)).keys() | OPTIONAL.get(package, set())
    undeclared = {
        f"{file.relative_to(repository)}: {module}"
        for module, file in imported(repository / package)
        if module not in sys.stdlib_module_names
        and module not in OURS
        and not file.with_name(f"{module}.py").is_file()  # scripts import what lies beside them
        and canonicalize_name(DISTRIBUTIONS.get(module, module)) not in names
    }
    assert undeclared == set()


def test_the_device_gets_no_training_and_no_server(project: dict[str, Any]) -> None:
    """The extra `edge` stays small: nothing of the base, nothing that trains."""
    edge = declared(project, "edge").keys()
    foreign = {"torch", "onnx", "fastapi", "sqlalchemy", "amqtt", "opencv-python", "matplotlib"}
    assert edge & foreign == set()
