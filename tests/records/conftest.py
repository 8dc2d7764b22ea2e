"""Fixtures of the records' tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from edge_agent.records.database import Database, open_database

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """`building.py`: processes that tests start load it as well."""
    spec = importlib.util.spec_from_file_location("records_building", HERE / "building.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "edge.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with open_database(path) as opened:
        yield opened
