"""MemoryDenyWriteExecute: what the services load and run needs no writable code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PR_SET_MDWE = 65  # prctl(2), Linux 6.3: the kernel's own form of MemoryDenyWriteExecute

SHUT = f"""
import ctypes, mmap, sys
if ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) != 0:
    sys.exit(77)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    sys.exit("the sandbox does not hold")
"""

FILTER = """
import numpy, onnxruntime, PIL.Image, pyproj, rasterio, shapely, sqlite3
from pathlib import Path
numpy.linalg.inv(numpy.eye(64))
assert shapely.area(shapely.box(0, 0, 2, 2)) == 4
assert pyproj.Transformer.from_crs(4326, 32633).transform(50, 15)[0] > 499_999
sqlite3.connect(":memory:").execute("select 1")
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
shape = [n if isinstance(n, int) else 2 for n in entry.shape]
logits = session.run(None, {entry.name: numpy.zeros(shape, numpy.float32)})[0]
assert numpy.isfinite(logits).all()
"""

SERVER = """
import fastapi, jinja2, pydantic, sqlalchemy, uvicorn
class Model(pydantic.BaseModel):
    x: int
assert Model(x="3").x == 3
engine = sqlalchemy.create_engine("sqlite://")
assert engine.connect().execute(sqlalchemy.text("select 1")).scalar() == 1
assert jinja2.Template("{{ x }}").render(x=3) == "3"
"""


def run_shut(program: str, *arguments: str) -> None:
    """Run `program` where no memory can be both written and executed."""
    done = subprocess.run(
        [sys.executable, "-c", SHUT + program, *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("this kernel cannot forbid writable code to one process (needs Linux 6.3)")
    assert done.returncode == 0, done.stderr


def test_the_filters_libraries_run_without_writable_code(repository: Path) -> None:
    """Inference, geometry, projections, rasters and SQLite work as the unit confines them."""
    model = repository / "models/rehearsal/model.onnx"
    assert model.is_file(), "the rehearsal bundle is part of the repository"
    run_shut(FILTER, str(model))


def test_the_servers_libraries_run_without_writable_code() -> None:
    """Web framework, validation, templates and database work as the unit confines them."""
    run_shut(SERVER)
