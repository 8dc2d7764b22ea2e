"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root: shipped bundles, configs and units are tested where they stand."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery beside the checkout, or at TILESIFT_DATA; tests that need it skip without."""
    folder = Path(os.environ.get("TILESIFT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real imagery is not there: {folder} (set TILESIFT_DATA)")
    return folder
