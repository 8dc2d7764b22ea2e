"""A loaded model: batches of pixels in, logits and embeddings out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from msgspec import Meta, Struct
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edge_agent.domain import Outputs, Pixels
from edge_agent.inference.bundle import Bundle, BundleError, InputSpec
from operations.errors import OperatorError, Problem

_log = logging.getLogger(__name__)

CPU: Final = "CPUExecutionProvider"

Prepared: TypeAlias = npt.NDArray[np.float32]
"""(N, 3, H, W): the network's input for N tiles."""
_ORT_ERRORS: Final = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    ort_errors.EPFail,
)


class InferenceError(OperatorError):
    """The model ran before and does not any more: a device lost, memory gone."""


class InferenceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the model is run."""

    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Tiles per call of the model, and per transaction of the records."""
    threads: Annotated[int, Meta(ge=0, le=256)] = 1
    """Threads inside one operator; 0 leaves the choice to onnxruntime."""
    providers: Annotated[tuple[str, ...], Meta(max_length=8)] = (CPU,)
    """Execution providers by onnxruntime's names, best first; absent ones are left out."""


class Session:
    """A bundle's model, loaded and probed."""

    def __init__(self, bundle: Bundle, settings: InferenceSettings) -> None:
        """Load the model and run a probe batch through it.

        Raises:
            BundleError: the model cannot be loaded, or its inputs or outputs are not those of
                `bundle.toml`; every problem found is listed.
        """
        spec = bundle.description.input
        self._spec = spec
        self._preprocess = Preprocess(spec)
        self._ort = _load(bundle, settings)
        output = bundle.description.output
        self._names = [output.logits] + ([output.embedding] if output.embedding else [])
        problems = _signature_problems(self._ort, spec, self._names)
        if not problems:
            problems = self._probe_problems(len(bundle.description.labels))
        if problems:
            raise BundleError(f"bundle {bundle.folder} cannot be used", problems)

    def prepare(self, pixels: Sequence[Pixels] | npt.NDArray[np.uint8]) -> Prepared:
        """N tiles of (H, W, 3) uint8 RGB at the bundle's input size, as the model takes them."""
        return self._preprocess(pixels)

    def run(self, prepared: Prepared) -> Outputs:
        """Outputs for N prepared tiles. Leaves Python free for other threads meanwhile.

        Raises:
            InferenceError: the runtime failed.
        """
        try:
            results = self._ort.run(self._names, {self._spec.name: prepared})
        except _ORT_ERRORS as error:
            raise InferenceError(
                "the model stopped running",
                [Problem(str(error), "started again, the filter goes on where it was")],
            ) from error
        logits = np.asarray(results[0], dtype=np.float32)
        features = np.asarray(results[1], dtype=np.float32) if len(results) > 1 else None
        return Outputs(logits, features)

    def _probe_problems(self, classes: int) -> list[Problem]:
        """Run a mid-grey and a noisy tile: do shapes, labels and finiteness hold?"""
        height, width = self._spec.size
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        try:
            outputs = self.run(self.prepare([np.full_like(noise, 128), noise]))
        except (InferenceError, ValueError) as error:
            hint = "input.size must be what the model was exported for, batches of any length"
            return [Problem(f"the model does not run on a probe batch of two: {error}", hint)]
        problems = []
        if outputs.logits.shape != (2, classes):
            problems.append(
                Problem(
                    f"logits of two tiles have shape {outputs.logits.shape}, not (2, {classes})",
                    "labels must be as many as the model has classes, in its order",
                )
            )
        embedding = outputs.features
        if embedding is not None and (embedding.ndim != 2 or len(embedding) != 2):
            problems.append(Problem(f"embedding of two tiles has shape {embedding.shape}"))
        for name, values in (("logits", outputs.logits), ("embedding", embedding)):
            if values is not None and not np.isfinite(values).all():
                problems.append(
                    Problem(f"{name} of a probe tile are not finite", "check input.mean and scale")
                )
        return problems


class Preprocess:
    """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32 in the bundle's colour order and scale."""

    def __init__(self, spec: InputSpec) -> None:
        mean = np.array(spec.mean, dtype=np.float64)
        scale = np.array(spec.scale, dtype=np.float64)
        self._factor = (1.0 / scale).astype(np.float32)[:, None, None]
        self._shift = (-mean / scale).astype(np.float32)[:, None, None]
        self._order = slice(None) if spec.colour == "RGB" else slice(None, None, -1)

    def __call__(self, pixels: Sequence[Pixels] | npt.NDArray[np.uint8]) -> Prepared:
        """The network's input for N tiles."""
        height, width = pixels[0].shape[:2]
        batch = np.empty((len(pixels), 3, height, width), dtype=np.float32)
        for target, tile in zip(batch, pixels, strict=True):
            planes = np.ascontiguousarray(tile.transpose(2, 0, 1)[self._order])
            np.multiply(planes, self._factor, out=target)
            target += self._shift
        return batch


def _load(bundle: Bundle, settings: InferenceSettings) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle worker threads must not burn the core on which the reader decodes the next tiles.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = _available(settings.providers)
    try:
        session = ort.InferenceSession(str(bundle.model_path), options, providers=providers)
    except _ORT_ERRORS as error:
        hint = "is it an ONNX model that this onnxruntime can read?"
        raise BundleError(
            f"bundle {bundle.folder} cannot be used",
            [Problem(f"{bundle.model_path.name} cannot be loaded: {error}", hint)],
        ) from error
    in_use = session.get_providers()
    lost = [name for name in providers if name not in in_use]
    if lost:
        _log.warning("%s did not start; using %s", ", ".join(lost), ", ".join(in_use))
    return session


def _available(wanted: Sequence[str]) -> list[str]:
    """The wanted providers that this build has, the CPU always last; one warning for the others."""
    present = ort.get_available_providers()
    absent = [name for name in wanted if name not in present]
    usable = [name for name in wanted if name in present and name != CPU] + [CPU]
    if absent:
        _log.warning(
            "execution providers not in this onnxruntime: %s; using %s (it has: %s)",
            ", ".join(absent), ", ".join(usable), ", ".join(present),
        )  # fmt: skip
    return usable


def _signature_problems(session: Any, spec: InputSpec, outputs: Sequence[str]) -> list[Problem]:
    problems = []
    inputs = {entry.name: entry for entry in session.get_inputs()}
    if spec.name not in inputs:
        hint = f"the model's inputs: {', '.join(inputs)}"
        problems.append(Problem(f"the model has no input {spec.name!r}", hint))
    elif inputs[spec.name].type != "tensor(float)":
        kind = inputs[spec.name].type
        problems.append(Problem(f"input {spec.name!r} is {kind}, not float32", "export as float32"))
    if len(inputs) > 1:
        problems.append(Problem(f"the model has {len(inputs)} inputs, not one"))
    present = [entry.name for entry in session.get_outputs()]
    problems += [
        Problem(f"the model has no output {name!r}", f"the model's outputs: {', '.join(present)}")
        for name in outputs
        if name not in present
    ]
    return problems
