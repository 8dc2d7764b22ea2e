"""One ONNX file, loaded and tried out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edge_agent.domain import Outputs
from edge_agent.inference.bundle import BundleDescription
from edge_agent.inference.providers import start, with_threads
from operations.errors import Problem

FAILURES: Final[tuple[type[Exception], ...]] = (
    *(kind for kind in vars(ort_state).values()
      if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)  # fmt: skip
"""All that onnxruntime raises; its own errors share no base, and differ between its versions."""
_INPUTS: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_OUTPUTS: Final = (*_INPUTS, "tensor(double)")
_SILENT, _USUAL = 4, 2
"""onnxruntime's severities: only what is fatal; warnings, its default."""


@dataclass(frozen=True, slots=True)
class Loading:
    """How a file is loaded."""

    providers: tuple[str, ...]
    """onnxruntime's names, best first, the CPU last."""
    threads: int
    share_memory: bool
    """Several networks take turns in one arena."""


class Network:
    """A loaded model with the names of what goes in and comes out."""

    def __init__(self, session: Any, description: BundleDescription) -> None:
        output = description.output
        self._session = session
        self._input = description.input.name
        self._outputs = [output.logits] + ([output.embedding] if output.embedding else [])
        kinds = {entry.name: entry.type for entry in session.get_inputs()}
        self.dtype: np.dtype[Any] = np.dtype(_INPUTS.get(kinds.get(self._input, ""), np.float32))
        """Of the input: float32 or float16."""

    def run(self, batch: npt.NDArray[np.floating]) -> Outputs:
        """Outputs as float32 for a (N, 3, H, W) batch of `dtype`.

        Raises:
            One of FAILURES: the runtime failed.
        """
        results = self._session.run(self._outputs, {self._input: batch})
        with np.errstate(over="ignore"):
            single = [np.asarray(values, dtype=np.float32) for values in results]
        return Outputs(single[0], single[1] if len(single) > 1 else None)

    def mismatches(self) -> list[Problem]:
        """Where the model's inputs and outputs are not those of `bundle.toml`."""
        problems = []
        inputs = {entry.name: entry.type for entry in self._session.get_inputs()}
        if self._input not in inputs:
            hint = f"the model's inputs: {', '.join(inputs)}"
            problems.append(Problem(f"the model has no input {self._input!r}", hint))
        elif inputs[self._input] not in _INPUTS:
            what = f"input {self._input!r} is {inputs[self._input]}, not float32 or float16"
            problems.append(Problem(what, "export as float32"))
        if len(inputs) > 1:
            problems.append(Problem(f"the model has {len(inputs)} inputs, not one"))
        outputs = {entry.name: entry.type for entry in self._session.get_outputs()}
        hint = f"the model's outputs: {', '.join(outputs)}"
        for name in self._outputs:
            if name not in outputs:
                problems.append(Problem(f"the model has no output {name!r}", hint))
            elif outputs[name] not in _OUTPUTS:
                problems.append(Problem(f"output {name!r} is {outputs[name]}, not floats"))
        return problems


def load(
    path: Path, description: BundleDescription, loading: Loading, probe: npt.NDArray[np.float32]
) -> tuple[Network, list[Problem], dict[str, str]]:
    """The network, what is wrong with it, and provider -> why for those that did not start.

    `probe` (N, 3, H, W) is run through it: some providers fail only then, and some shapes are
    known only then.

    Raises:
        One of FAILURES: the file cannot be loaded on the CPU either.
    """

    def opened_with(names: Sequence[str]) -> tuple[tuple[Network, list[Problem]], list[str]]:
        session = ort.InferenceSession(
            str(path),
            _options(loading),
            providers=[with_threads(name, loading.threads) for name in names],
            enable_fallback=False,  # ours takes its place; old versions ignore this
        )
        session.disable_fallback()
        network = Network(session, description)
        problems = network.mismatches()
        if not problems:
            try:
                problems = _probe_problems(network, probe, len(description.labels))
            except FAILURES as error:
                if len(names) > 1:  # a provider may be to blame
                    raise
                problems = [_no_run(len(probe), error)]
        return (network, problems), session.get_providers()

    with _quiet(len(loading.providers) > 1):
        (network, problems), lost = start(loading.providers, opened_with, FAILURES)
    return network, problems, lost


@contextmanager
def _quiet(accelerated: bool) -> Iterator[None]:
    """Providers that do not start are the caller's to report, in one line instead of many.

    onnxruntime would print to stdout, which belongs to --json, and log to stderr.
    """
    if not accelerated:
        yield
        return
    ort.set_default_logger_severity(_SILENT)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        ort.set_default_logger_severity(_USUAL)


def _options(loading: Loading) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = loading.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle worker threads must not burn the core on which the reader decodes the next tiles.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if loading.share_memory:
        _register_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    return options


@cache
def _register_arena() -> None:
    """An arena for all: members run in turn, so one needs what the one before gave back.

    Without it each keeps its own for good: four members of 1 M parameters took 270 MB, with it 110.
    """
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, None)


def _probe_problems(
    network: Network, probe: npt.NDArray[np.float32], classes: int
) -> list[Problem]:
    count = len(probe)
    outputs = network.run(as_input(probe, network.dtype))
    problems = []
    if outputs.logits.shape != (count, classes):
        shape = outputs.logits.shape
        problems.append(
            Problem(
                f"logits of {count} tiles have shape {shape}, not ({count}, {classes})",
                "labels must be as many as the model has classes, in its order",
            )
        )
    embedding = outputs.features
    if embedding is not None and (embedding.ndim != 2 or len(embedding) != count):
        problems.append(Problem(f"embedding of {count} tiles has shape {embedding.shape}"))
    for name, values in (("logits", outputs.logits), ("embedding", embedding)):
        if values is not None and not np.isfinite(values).all():
            problems.append(
                Problem(f"{name} of a probe tile are not finite", "check input.mean and scale")
            )
    return problems


def as_input(
    prepared: npt.NDArray[np.float32], dtype: np.dtype[Any]
) -> npt.NDArray[np.floating[Any]]:
    """The same values in the input's type; float16 holds at most 65504, beyond is infinite."""
    with np.errstate(over="ignore"):
        return prepared.astype(dtype, copy=False)


def _no_run(count: int, error: Exception) -> Problem:
    return Problem(
        f"the model does not run on a probe batch of {count}: {error}",
        "input.size must be what the model was exported for, batches of any length",
    )
