"""`bundle create`, step by step: read, find the head, rebuild, prove, write."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.authoring.card import card_text
from edge_agent.authoring.ending import Linear, find_ending
from edge_agent.authoring.errors import AuthoringError
from edge_agent.authoring.finding import Original, find_model, refused
from edge_agent.authoring.graph import GraphView
from edge_agent.authoring.labels import read_labels
from edge_agent.authoring.loading import load_model
from edge_agent.authoring.order import (
    NORMALISATIONS,
    USUAL_GSD_M,
    BundleOrder,
    assumptions,
    order_problems,
)
from edge_agent.authoring.placing import place_problems
from edge_agent.authoring.probes import ImageTiles, Tiles, image_tiles, random_tiles
from edge_agent.authoring.proving import Answer, Proof, one_by_one, sums_to_one
from edge_agent.authoring.running import Floats, Runner
from edge_agent.authoring.signature import chosen_output, rows_of_scores, signature_problems
from edge_agent.authoring.writing import Contents, write_bundle
from edge_agent.inference.bundle import InputSpec
from edge_agent.inference.network import FAILURES
from edge_agent.inference.preprocess import Preprocess
from operations.errors import ExitCode, Problem


@dataclass(frozen=True, slots=True)
class Created:
    """What came of it."""

    sha256: str
    labels: tuple[str, ...]
    given: InputSpec
    answer: Answer
    """What the original's output holds."""
    linear: Linear | None
    proof: Proof
    image_count: int
    notes: tuple[str, ...]


def create_bundle(order: BundleOrder) -> Created:
    """Make the bundle `order.out`.

    Raises:
        AuthoringError: the model, the labels or the place will not do; lists every problem.
        BundleError: the bundle's own check found something that all of this did not.
    """
    original = _open(order)
    notes = list(assumptions(order))
    images = None if order.images is None else image_tiles(order.images, _size(original, order),
                                                           order.gsd_m)  # fmt: skip
    notes += [f"not read: {line}" for line in (images.unread if images else ())]
    given, gsd_note = _input_spec(original, order, images)
    notes += gsd_note
    tiles = _tiles(given.size, images)
    prepared = Preprocess(given)(tiles)
    answer, kind = _answer(original, prepared)
    found = find_model(original, given.size, prepared, answer, kind)
    notes += found.notes
    given = msgspec.structs.replace(given, name=found.rebuilt.input)
    if found.logarithm:
        notes.append(
            "the model gives probabilities and no separate logits: their logarithms serve as "
            "logits, so energy and max_logit say no more than msp"
        )
    card = card_text(order, original.labels, given, found.linear, found.proof)
    contents = Contents(original.labels, found.rebuilt, found.linear, given, card)
    sha256 = write_bundle(order, contents)
    count = 0 if images is None else len(images.tiles)
    return Created(
        sha256, original.labels, given, kind, found.linear, found.proof, count, tuple(notes)
    )


def _open(order: BundleOrder) -> Original:
    """Everything that can be judged without running a tile through the model."""
    problems = place_problems(order.out, order.force) + list(order_problems(order))
    labels: tuple[str, ...] = ()
    model = None
    try:
        labels = read_labels(order.labels)
    except AuthoringError as error:
        problems += error.problems
    try:
        model = load_model(order.model)
        runner = Runner(order.model)
    except AuthoringError as error:
        problems += error.problems
    except FAILURES as error:
        line = str(error).strip().split("\n", 1)[0]
        problems.append(Problem(f"onnxruntime cannot load {order.model.name}: {line}"))
        model = None
    if model is None:
        raise _refused(order, problems)
    wanted, output_problems = chosen_output(runner, order.output, len(labels))
    problems += output_problems + signature_problems(runner, order.size)
    if wanted and labels and find_ending(GraphView(model), wanted).form == "sigmoid":
        hint = "a bundle's model gives each tile exactly one class; export without the sigmoid"
        what = "a sigmoid gives each class a probability of its own (multi-label)"
        problems.append(Problem(f"output {wanted!r}: {what}", hint))
    if problems:
        raise _refused(order, problems)
    return Original(model, runner, runner.form(), wanted, labels)


def _size(original: Original, order: BundleOrder) -> tuple[int, int]:
    height, width = order.size or original.form.size
    return int(height or 0), int(width or 0)  # signature_problems saw to it that both are known


def _input_spec(
    original: Original, order: BundleOrder, images: ImageTiles | None
) -> tuple[InputSpec, list[str]]:
    mean, scale = NORMALISATIONS["unit"]
    if order.mean is not None or order.scale is not None:
        mean, scale = order.mean or (0.0, 0.0, 0.0), order.scale or (1.0, 1.0, 1.0)
    gsd_m, notes = order.gsd_m, []
    if gsd_m is None and images is not None and images.gsd_m is not None:
        gsd_m = float(f"{images.gsd_m:.4g}")
        notes = [f"{gsd_m:g} m per pixel, the median of the images: if not so, give --gsd"]
    elif gsd_m is None:
        gsd_m = USUAL_GSD_M
        notes = [f"{gsd_m:g} m per pixel is assumed: give the scale of training with --gsd"]
    spec = InputSpec(
        name=original.form.name, size=_size(original, order), mean=mean, scale=scale,
        gsd_m=gsd_m, colour=order.colour,
    )  # fmt: skip
    return spec, notes


def _tiles(size: tuple[int, ...], images: ImageTiles | None) -> Tiles:
    drawn = random_tiles((size[0], size[1]))
    return drawn if images is None else np.concatenate([drawn, images.tiles])


def _answer(original: Original, prepared: npt.NDArray[np.float32]) -> tuple[Floats, Answer]:
    """What the original says of each tile alone, and what kind of numbers these are."""
    try:
        raw = one_by_one(original.runner, original.output, prepared)
    except FAILURES as error:
        line = str(error).strip().split("\n", 1)[0]
        hint = "does it take tiles of this --size?"
        raise refused(f"it does not run on a tile: {line}", hint) from error
    rows = rows_of_scores(raw, original.output, original.labels)
    if np.isnan(rows).any() or np.isposinf(rows).any():
        hint = "are --mean and --scale those of training?"
        raise refused("what it says of some tiles is not finite", hint)
    ending = find_ending(GraphView(original.model), original.output)
    if ending.form in ("softmax", "log_softmax"):
        return rows, ending.form
    return rows, "probabilities" if sums_to_one(rows) else "logits"


def _refused(order: BundleOrder, problems: list[Problem]) -> AuthoringError:
    error = AuthoringError(f"no bundle was made of {order.model}", problems)
    if any(order_problems(order)):
        error.exit_code = ExitCode.USAGE
    return error
