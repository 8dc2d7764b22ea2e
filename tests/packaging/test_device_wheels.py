"""Every device can be set up without a compiler: wheels for all Pythons and both processors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# glibc 2.28: Debian 10, Ubuntu 18.10, JetPack 5 and newer.
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_index_has_wheels_for_the_device(
    python: str, machine: str, project: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    """pip finds a wheel of every pinned package that the extra `edge` brings."""
    if not os.environ.get("TILESIFT_ASK_INDEX"):
        pytest.skip("downloads hundreds of megabytes; set TILESIFT_ASK_INDEX=1 to run it")
    platforms = [f"--platform={p}_{machine}" for p in PLATFORMS]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["edge"]]
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:",
            f"--python-version={python}", *platforms, f"--dest={tmp_path}",
            f"--constraint={repository / 'constraints.txt'}", *requirements,
        ],
        check=True,
    )  # fmt: skip
    names = {file.name.split("-")[0].lower() for file in tmp_path.glob("*.whl")}
    assert {"numpy", "onnxruntime", "rasterio", "shapely", "pyproj", "pillow"} <= names
