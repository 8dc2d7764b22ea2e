"""What the packaging tests share: the project's own description of itself."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def project(repository: Path) -> dict[str, Any]:
    """The table [project] of pyproject.toml."""
    data = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    table: dict[str, Any] = data["project"]
    return table


@pytest.fixture(scope="session")
def constraint_lines(repository: Path) -> list[str]:
    """The pins of constraints.txt, without its comments."""
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
