"""`calibration.npz`: what scoring keeps of held-out familiar tiles, bound to the model's hash.

Format 1 holds the model's outputs on those tiles, format 2 also what was fitted to them. What the
arrays mean is scoring's matter; here they are read, bound and written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_agent.inference.arrays_file import Arrays, ArraysFileError, read_npz, write_npz
from operations.errors import Problem

FORMAT: Final = 2
"""What is written."""
MAX_BYTES: Final = 512 * 2**20
"""Of all arrays together; the device must hold them."""
_READABLE: Final = (1, 2)
_FORMAT, _MODEL = "format", "model_sha256"


def read_calibration(path: Path, *, model_sha256: str) -> tuple[Arrays | None, list[Problem]]:
    """The arrays but for format and hash, or None, and everything that is wrong with the file.

    A file that is absent is None without a problem.
    """
    if not path.exists():
        return None, []
    try:
        arrays = read_npz(path, max_bytes=MAX_BYTES)
    except ArraysFileError as error:
        return None, [
            Problem(f"cannot read {problem.message}", "calibrate the bundle again")
            for problem in error.problems
        ]
    missing = [name for name in (_MODEL, _FORMAT) if name not in arrays]
    if missing:
        return None, [Problem(f"{path.name} lacks {', '.join(missing)}", "calibrate again")]
    problems = _binding_problems(path.name, arrays.pop(_MODEL), arrays.pop(_FORMAT), model_sha256)
    return (None, problems) if problems else (arrays, [])


def write_calibration(
    path: Path, arrays: Mapping[str, npt.ArrayLike], *, model_sha256: str
) -> None:
    """Write `arrays` in format 2 for the model of that hash (64 hex digits).

    Equal arrays give equal bytes; `path` never holds half a file.

    Raises:
        ArraysFileError: the disk or the folder refuses.
        ValueError: arrays that could not be read again, or that take the file's own names.
    """
    taken = sorted({_FORMAT, _MODEL} & set(arrays))
    if taken:
        raise ValueError(f"{', '.join(taken)}: the file's own names")
    size = sum(np.asarray(values).nbytes for values in arrays.values())
    if size > MAX_BYTES - 1024:
        raise ValueError(f"{size} bytes of calibration, at most {MAX_BYTES} can be read again")
    own = {_FORMAT: np.array(FORMAT), _MODEL: np.array(model_sha256)}
    write_npz(path, {**arrays, **own})


def _binding_problems(
    name: str, model: npt.NDArray[Any], written: npt.NDArray[Any], sha256: str
) -> list[Problem]:
    problems = []
    belongs = str(model.reshape(-1)[0]) if model.size == 1 else "none"
    if belongs != sha256:
        problems.append(
            Problem(
                f"{name} belongs to another model (sha256 {belongs[:64]}, not {sha256})",
                "use the calibration made with this model, or calibrate again",
            )
        )
    whole = written.size == 1 and written.dtype.kind in "iu"
    if not whole or int(written.reshape(-1)[0]) not in _READABLE:
        problems.append(
            Problem(f"{name} has a format other than 1 or {FORMAT}", "update tilesift here")
        )
    return problems
