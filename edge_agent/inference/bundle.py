"""A bundle: a folder with a model and all that is needed to use and to trust it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from edge_agent.inference.calibration_file import read_calibration
from operations import settings_file
from operations.errors import OperatorError, Problem

BUNDLE_FILE: Final = "bundle.toml"
CALIBRATION_FILE: Final = "calibration.npz"
MAX_MEMBERS: Final = 16

Triple = Annotated[tuple[float, ...], Meta(min_length=3, max_length=3)]
Side = Annotated[int, Meta(ge=16, le=4096)]


class BundleError(OperatorError):
    """A bundle that cannot be used; all that is wrong with it at once."""


class ModelFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The network and the hash it is known by."""

    file: str
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class InputSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What the network wants: float32 NCHW of `(pixel - mean) / scale`, pixels in 0..255."""

    name: str
    size: Annotated[tuple[Side, ...], Meta(min_length=2, max_length=2)]
    """Height and width in pixels."""
    mean: Triple
    scale: Triple
    gsd_m: Annotated[float, Meta(gt=0.0)]
    """Metres per pixel in training."""
    colour: Literal["RGB", "BGR"] = "RGB"


class OutputSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Names of the network's outputs."""

    logits: str
    embedding: str | None = None


class Provenance(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the model comes from, in words."""

    training_data: str
    licence: str


class BundleDescription(Struct, frozen=True, forbid_unknown_fields=True):
    """`bundle.toml`, key by key."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}\Z")]
    version: Annotated[str, Meta(pattern=r"^[0-9A-Za-z.+-]{1,32}\Z")]
    task: Literal["classify"]
    labels: Annotated[tuple[str, ...], Meta(min_length=1)]
    input: InputSpec
    output: OutputSpec
    provenance: Provenance
    model: ModelFile | None = None
    """The network of a bundle of one."""
    members: tuple[ModelFile, ...] = ()
    """The networks of an ensemble: same input, same labels, same names of outputs."""

    @property
    def networks(self) -> tuple[ModelFile, ...]:
        """The model, or the members in their order."""
        return self.members if self.model is None else (self.model, *self.members)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files are all there and agree with each other; the model is not loaded yet."""

    folder: Path
    description: BundleDescription
    calibration: Mapping[str, npt.NDArray[Any]] | None
    """Named arrays as scoring left them, for this very model; None without a calibration."""

    @property
    def id(self) -> str:
        """name@version; one without calibration says so, since it judges otherwise."""
        name = f"{self.description.name}@{self.description.version}"
        return name if self.calibration is not None else f"{name}+uncalibrated"

    @property
    def model_paths(self) -> tuple[Path, ...]:
        """Where the ONNX file is, or those of an ensemble's members in their order."""
        return tuple(self.folder / network.file for network in self.description.networks)

    @property
    def model_sha256(self) -> bytes:
        """32 bytes, checked against the files when the bundle was read; see `model_digest`."""
        return model_digest(self.description)


def model_digest(description: BundleDescription) -> bytes:
    """What a model is known by: its file's SHA-256, of an ensemble that of its members' digests.

    The members' 32 bytes each are joined in their order: another order is another model, since
    its embedding is another.
    """
    digests = [bytes.fromhex(network.sha256) for network in description.networks]
    return digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()


def read_bundle(folder: Path, *, calibrated: bool = True) -> Bundle:
    """Read and check the bundle in `folder`; its calibration only if `calibrated`.

    Raises:
        BundleError: files are missing or contradict each other; every problem is listed.
    """
    try:
        description = settings_file.load(folder / BUNDLE_FILE, BundleDescription)
    except OperatorError as error:
        raise BundleError(f"{folder / BUNDLE_FILE} cannot be used", error.problems) from error
    problems = list(_label_problems(description)) + list(_input_problems(description))
    for network in description.networks:
        problems += _file_problems(folder, network)
    calibration = None
    if unclear := _ensemble_problems(description):
        problems += unclear
    elif calibrated:
        digest = model_digest(description).hex()
        calibration, found = read_calibration(folder / CALIBRATION_FILE, model_sha256=digest)
        problems += found
    if problems:
        raise BundleError(f"bundle {folder} cannot be used", problems)
    return Bundle(folder, description, calibration)


def _label_problems(description: BundleDescription) -> list[Problem]:
    labels = description.labels
    doubles = sorted({label for label in labels if labels.count(label) > 1})
    problems = []
    if doubles:
        problems.append(Problem(f"labels stand twice: {', '.join(doubles)}", "name each once"))
    if any(not label.strip() or len(label) > 128 for label in labels):
        problems.append(Problem("a label is empty or longer than 128 characters"))
    return problems


def _input_problems(description: BundleDescription) -> list[Problem]:
    spec = description.input
    problems = []
    if not np.isfinite([*spec.mean, *spec.scale, spec.gsd_m]).all():
        problems.append(Problem("input.mean, input.scale and input.gsd_m must be finite"))
    if 0.0 in spec.scale:
        problems.append(Problem("input.scale holds a 0", "it divides; 1.0 leaves pixels as are"))
    return problems


def _ensemble_problems(description: BundleDescription) -> list[Problem]:
    members = description.members
    if description.model is not None and members:
        return [Problem("both [model] and [[members]]", "list all networks as [[members]]")]
    if description.model is None and not members:
        return [Problem("no model", "name its file and sha256 under [model]")]
    if len(members) == 1:
        return [Problem("one member is no ensemble", "name it under [model]")]
    problems = []
    if len(members) > MAX_MEMBERS:
        problems.append(Problem(f"{len(members)} members, more than {MAX_MEMBERS}"))
    digests = [member.sha256 for member in members]
    doubles = [
        member.file for place, member in enumerate(members) if member.sha256 in digests[:place]
    ]
    if doubles:
        hint = "a copy never disagrees; train it with another seed, or leave it out"
        problems.append(Problem(f"members stand twice: {', '.join(doubles)}", hint))
    return problems


def _file_problems(folder: Path, network: ModelFile) -> list[Problem]:
    name = network.file
    if Path(name).name != name or "\0" in name:
        return [Problem(f"{name!r} is not a plain file name", "keep the model in the folder")]
    try:
        with (folder / name).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return [Problem(f"cannot read {name}: {error.strerror}", "is the bundle complete?")]
    if actual != network.sha256:
        return [
            Problem(
                f"{name} has sha256 {actual}, bundle.toml says {network.sha256}",
                "copy the bundle again, or update bundle.toml if the model was meant to change",
            )
        ]
    return []
