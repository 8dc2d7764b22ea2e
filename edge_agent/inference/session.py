"""A loaded bundle: batches of pixels in, logits and embeddings out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from msgspec import Meta, Struct

from edge_agent.domain import Outputs, Pixels
from edge_agent.inference import providers
from edge_agent.inference.bundle import Bundle, BundleError
from edge_agent.inference.ensemble import combine
from edge_agent.inference.network import FAILURES, Loading, Network, as_input, load
from edge_agent.inference.preprocess import Prepared, Preprocess
from operations.errors import OperatorError, Problem

_log = logging.getLogger(__name__)


class InferenceError(OperatorError):
    """The model ran before and does not any more: a device lost, memory gone."""


class InferenceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the model is run."""

    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Tiles per call of the model, and per transaction of the records."""
    threads: Annotated[int, Meta(ge=0, le=256)] = 1
    """Threads inside one operator; 0 leaves the choice to onnxruntime."""
    providers: Annotated[tuple[str, ...], Meta(max_length=8)] = ("cpu",)
    """What runs the model, best first, in plain names or onnxruntime's; absent ones are left out
    with a warning, and the CPU does what they do not."""

    def __post_init__(self) -> None:
        if found := providers.mistakes(self.providers):
            raise ValueError("providers: " + "; ".join(found))


class Session:
    """A bundle's model, or all members of its ensemble, loaded and probed."""

    def __init__(self, bundle: Bundle, settings: InferenceSettings) -> None:
        """Load the model and run a probe batch through it.

        Raises:
            BundleError: a model cannot be loaded, or its inputs or outputs are not those of
                `bundle.toml`; every problem found is listed.
        """
        self._preprocess = Preprocess(bundle.description.input)
        self._networks = _load_all(bundle, settings, self._preprocess(_probe_tiles(bundle)))

    def prepare(self, pixels: Sequence[Pixels] | npt.NDArray[np.uint8]) -> Prepared:
        """N tiles of (H, W, 3) uint8 RGB at the bundle's input size, as the model takes them."""
        return self._preprocess(pixels)

    def run(self, prepared: Prepared) -> Outputs:
        """Outputs for N prepared tiles. Leaves Python free for other threads meanwhile.

        The members of an ensemble take turns on the same input: the device has one core for
        them, and so only one needs memory at a time.

        Raises:
            InferenceError: the runtime failed.
        """
        inputs = {
            dtype: as_input(prepared, dtype) for dtype in {each.dtype for each in self._networks}
        }
        try:
            return combine([each.run(inputs[each.dtype]) for each in self._networks])
        except FAILURES as error:
            raise InferenceError(
                "the model stopped running",
                [Problem(str(error), "started again, the filter goes on where it was")],
            ) from error


def _load_all(bundle: Bundle, settings: InferenceSettings, probe: Prepared) -> list[Network]:
    available = ort.get_available_providers()
    plan = providers.plan(settings.providers, available)
    usable = plan.present
    lost: dict[str, str] = {}
    networks: list[Network] = []
    problems: list[Problem] = []
    paths = bundle.model_paths
    for path in paths:
        loading = Loading(usable, settings.threads, share_memory=len(paths) > 1)
        try:
            network, found, missing = load(path, bundle.description, loading, probe)
        except FAILURES as error:
            hint = "is it an ONNX model that this onnxruntime can read?"
            problems.append(Problem(f"{path.name} cannot be loaded: {error}", hint))
            continue
        # What did not start for one member is not tried with the next.
        lost |= missing
        usable = tuple(name for name in usable if name not in missing)
        networks.append(network)
        member = f"member {path.name}: " if len(paths) > 1 else ""
        problems += [Problem(member + each.message, each.hint) for each in found]
    if problems:
        raise BundleError(f"bundle {bundle.folder} cannot be used", problems)
    if text := providers.warning(plan, available, lost, usable):
        _log.warning("%s", text)
    return networks


def _probe_tiles(bundle: Bundle) -> npt.NDArray[np.uint8]:
    """A mid-grey and a noisy tile."""
    height, width = bundle.description.input.size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.stack([np.full_like(noise, 128), noise])
