"""The bundle's folder: written beside its place, tried out there, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edge_agent.authoring.ending import Linear
from edge_agent.authoring.errors import AuthoringError
from edge_agent.authoring.order import BundleOrder
from edge_agent.authoring.surgery import Rebuilt
from edge_agent.inference.bundle import BUNDLE_FILE, InputSpec, read_bundle
from edge_agent.inference.head_file import HEAD_FILE, HeadArrays, write_head
from edge_agent.inference.session import InferenceSettings, Session
from operations.errors import Problem

MODEL_FILE: Final = "model.onnx"
CARD_FILE: Final = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into the folder."""

    labels: tuple[str, ...]
    rebuilt: Rebuilt
    linear: Linear | None
    given: InputSpec
    card: str


def place_problems(out: Path, force: bool) -> list[Problem]:
    """Why the bundle cannot be put at `out`."""
    if not out.exists():
        return []
    if not out.is_dir():
        return [Problem(f"{out} is a file", "give a folder with --out")]
    present = [entry.name for entry in out.iterdir()]
    if not present:
        return []
    if BUNDLE_FILE not in present:
        return [Problem(f"{out} holds files and is no bundle", "give a new folder with --out")]
    if not force:
        return [Problem(f"{out} is a bundle already", "--force replaces it, calibration included")]
    return []


def write_bundle(order: BundleOrder, contents: Contents) -> str:
    """Write the folder and put it in its place, all or nothing; the model's sha256.

    Raises:
        AuthoringError: it cannot be written.
        BundleError: what was written is not what a device takes.
    """
    out = order.out.absolute()
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        sha256 = _write_files(part, order, contents)
        Session(read_bundle(part), InferenceSettings())
        _put(part, out)
    except OSError as error:
        problem = Problem(f"{error.filename or part}: {error.strerror}", "nothing was changed")
        raise AuthoringError(f"cannot write {out}", [problem]) from error
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(part)
    return sha256


def _write_files(folder: Path, order: BundleOrder, contents: Contents) -> str:
    model = contents.rebuilt.model.SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(model).hexdigest()
    _write(folder / MODEL_FILE, model)
    if contents.linear is not None:
        weight, bias = contents.linear.weight, contents.linear.bias
        head = HeadArrays(weight.astype(np.float32), bias.astype(np.float32))
        write_head(folder / HEAD_FILE, head, model_sha256=sha256)
    _write(folder / CARD_FILE, contents.card.encode())
    _write(folder / BUNDLE_FILE, _bundle_toml(order, contents, sha256).encode())
    return sha256


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _put(part: Path, out: Path) -> None:
    """Rename `part` to `out`; what stood there goes only when the new one is in its place."""
    if not out.exists():
        part.rename(out)
        return
    if not any(out.iterdir()):
        # Somebody may be standing in it. Without bundle.toml, the last, it is no bundle yet.
        for file in sorted(part.iterdir(), key=lambda file: file.name == BUNDLE_FILE):
            file.rename(out / file.name)
        return
    old = part.with_suffix(".old")
    out.rename(old)
    try:
        part.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)


def _bundle_toml(order: BundleOrder, contents: Contents, sha256: str) -> str:
    given, rebuilt = contents.given, contents.rebuilt
    lines = [
        f"name = {_text(order.bundle_name)}",
        f"version = {_text(order.version)}",
        'task = "classify"',
        "labels = [",
        *(f"  {_text(label)}," for label in contents.labels),
        "]",
        "",
        "[model]",
        f"file = {_text(MODEL_FILE)}",
        f'sha256 = "{sha256}"',
        "",
        "[input]",
        f"name = {_text(given.name)}",
        f"size = {list(given.size)}",
        f"colour = {_text(given.colour)}",
        f"mean = {_numbers(given.mean)}",
        f"scale = {_numbers(given.scale)}",
        f"gsd_m = {float(given.gsd_m)}",
        "",
        "[output]",
        f"logits = {_text(rebuilt.logits)}",
        *([f"embedding = {_text(rebuilt.embedding)}"] if rebuilt.embedding else []),
        "",
        "[provenance]",
        f"training_data = {_text(order.training_data)}",
        f"licence = {_text(order.licence)}",
    ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    # A JSON string is a TOML basic string once the delete character is escaped too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(repr(float(value)) for value in values)}]"
