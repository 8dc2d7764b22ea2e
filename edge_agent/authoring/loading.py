"""An ONNX file and its external data -> one model in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, inliner

from edge_agent.authoring.errors import AuthoringError
from operations.errors import Problem

LARGEST = 2**31 - 1
"""Bytes of a single ONNX file: the limit of its encoding."""
OPSETS = range(11, 23)


def load_model(path: Path) -> onnx.ModelProto:
    """The model with all its weights inside and its local functions inlined.

    Raises:
        AuthoringError: it cannot be read, weights beside it are missing, or one file cannot hold
            it all.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise _too_large(path, size)
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        hint = "check the path of the model"
        raise _refused(path, Problem(f"cannot read it: {error.strerror}", hint)) from error
    except DecodeError as error:
        hint = "is the file complete? torch: torch.onnx.export(...)"
        raise _refused(path, Problem("it is no ONNX model", hint)) from error
    if not model.graph.node:
        raise _refused(path, Problem("it holds no operators", "is it an ONNX model?"))
    _take_in_external_data(model, path, size)
    opset = next((entry.version for entry in model.opset_import if entry.domain in _ONNX), 0)
    if opset not in OPSETS:
        hint = f"export with opset_version from {OPSETS[0]} to {OPSETS[-1]}"
        raise _refused(path, Problem(f"it has opset {opset}", hint))
    return inliner.inline_local_functions(model) if model.functions else model


_ONNX = ("", "ai.onnx")


def _take_in_external_data(model: onnx.ModelProto, path: Path, size: int) -> None:
    folder = path.parent
    places = [external_data_helper.ExternalDataInfo(tensor) for tensor in _external(model)]
    if not places:
        return
    problems = []
    for name in sorted({place.location for place in places}):
        if not (folder / name).is_file():
            hint = "keep it beside the model, under the name that it was exported with"
            problems.append(Problem(f"its weights file {name} is missing", hint))
    if problems:
        raise _refused(path, *problems)
    for place in places:
        size += place.length or (folder / place.location).stat().st_size
    if size > LARGEST:
        raise _too_large(path, size)
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise _refused(path, Problem(f"its weights cannot be read: {error}")) from error


def _external(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _graphs(model.graph):
        for tensor in graph.initializer:
            if external_data_helper.uses_external_data(tensor):
                yield tensor
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t") and external_data_helper.uses_external_data(attribute.t):
                    yield attribute.t


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _too_large(path: Path, size: int) -> AuthoringError:
    hint = "a bundle's model is one file of at most 2 GiB: export as float16, or a smaller model"
    return _refused(path, Problem(f"with its weights it takes {size / 2**30:.2f} GiB", hint))


def _refused(path: Path, *problems: Problem) -> AuthoringError:
    return AuthoringError(f"{path} cannot become a bundle", problems)
