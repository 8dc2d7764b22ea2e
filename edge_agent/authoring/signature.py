"""Whether a model's input and output are those of a classifier of tiles."""

from __future__ import annotations

from typing import Final

from edge_agent.authoring.errors import AuthoringError
from edge_agent.authoring.running import Floats, Runner
from operations.errors import Problem

INPUT_KINDS: Final = ("tensor(float)", "tensor(float16)", "tensor(double)", "tensor(uint8)")
OUTPUT_KINDS: Final = ("tensor(float)", "tensor(float16)", "tensor(double)")
SIDES: Final = range(16, 4097)
_CLASSIFIERS: Final = (
    "a bundle's model gives one row of class scores per tile; detection and segmentation models "
    "cannot become bundles"
)


def signature_problems(runner: Runner, size: tuple[int, int] | None) -> list[Problem]:
    """What is wrong with the input, beside or without the size that was asked for."""
    if len(runner.inputs) != 1:
        names = ", ".join(entry.name for entry in runner.inputs)
        return [Problem(f"the model has {len(runner.inputs)} inputs ({names}), not one")]
    entry = runner.inputs[0]
    told = f"input {entry.name!r}"
    if entry.type not in INPUT_KINDS:
        return [Problem(f"{told} is {entry.type}", f"it must be one of {', '.join(INPUT_KINDS)}")]
    if len(entry.shape) != 4:
        hint = "it must be (tiles, 3, height, width) or (tiles, height, width, 3)"
        return [Problem(f"{told} has {len(entry.shape)} dimensions", hint)]
    problems = []
    form = runner.form()
    channels = entry.shape[3 if form.channels_last else 1]
    if isinstance(channels, int) and channels != 3:
        problems.append(Problem(f"{told} has {channels} channels, not 3", "tiles are RGB"))
    return problems + _size_problems(form.size, size)


def _size_problems(
    fixed: tuple[int | None, int | None], size: tuple[int, int] | None
) -> list[Problem]:
    if size is None:
        if None in fixed:
            return [Problem("the model takes tiles of any size", "give --size, as in training")]
        return _side_problems([side for side in fixed if side is not None])
    if any(side not in (None, wanted) for side, wanted in zip(fixed, size, strict=True)):
        shown = " x ".join("any" if side is None else str(side) for side in fixed)
        return [Problem(f"the model takes tiles of {shown} px, not {size[0]} x {size[1]}",
                        "give that with --size, or export the model again")]  # fmt: skip
    return _side_problems(list(size))


def _side_problems(sides: list[int]) -> list[Problem]:
    wrong = [side for side in sides if side not in SIDES]
    if not wrong:
        return []
    return [Problem(f"tiles of {wrong[0]} px", f"sides go from {SIDES[0]} to {SIDES[-1]} px")]


def chosen_output(runner: Runner, wanted: str | None, classes: int) -> tuple[str, list[Problem]]:
    """The output with the class scores: the one asked for, the only one, or the only fitting."""
    names = [entry.name for entry in runner.outputs]
    listed = f"the model's outputs: {', '.join(names)}"
    if wanted is not None:
        found = [entry for entry in runner.outputs if entry.name == wanted]
        if not found:
            return "", [Problem(f"the model has no output {wanted!r}", listed)]
    elif len(names) == 1:
        found = runner.outputs
    else:
        found = [entry for entry in runner.outputs if _may_be_scores(entry.shape, classes)]
        if any(entry.name == "logits" for entry in found):
            found = [entry for entry in found if entry.name == "logits"]
        if len(found) != 1:
            hint = f"say which holds the class scores: --output; {listed}"
            return "", [Problem(f"the model has {len(names)} outputs", hint)]
    entry = found[0]
    if entry.type not in OUTPUT_KINDS:
        hint = "class scores are floats; export without argmax or other steps behind them"
        return entry.name, [Problem(f"output {entry.name!r} is {entry.type}", hint)]
    sides = [side for side in entry.shape[1:] if side != 1]
    known = [side for side in sides if isinstance(side, int)]
    if len(known) > 1 or len(entry.shape) < 2 or len(known) == len(sides) == 0:
        shape = " x ".join(str(side) for side in entry.shape)
        if len(entry.shape) >= 2 and not sides:
            return entry.name, [_one_class(entry.name)]
        return entry.name, [Problem(f"output {entry.name!r} is {shape}", _CLASSIFIERS)]
    if classes and len(known) == len(sides) == 1 and known[0] != classes:
        return entry.name, [_other_count(entry.name, known[0], classes)]
    return entry.name, []


def rows_of_scores(raw: Floats, name: str, labels: tuple[str, ...]) -> Floats:
    """(N, C) of what the model gave, dimensions of 1 left out.

    Raises:
        AuthoringError: it is something else, or C is not the number of labels.
    """
    sides = [side for side in raw.shape[1:] if side != 1]
    problem = None
    if raw.ndim < 2 or len(sides) > 1:
        shape = " x ".join(str(side) for side in raw.shape[1:])
        problem = Problem(f"output {name!r} of one tile is {shape or 'a number'}", _CLASSIFIERS)
    elif not sides:
        problem = _one_class(name)
    elif sides[0] != len(labels):
        problem = _other_count(name, sides[0], len(labels))
    if problem is not None:
        raise AuthoringError("the model cannot become a bundle", [problem])
    return raw.reshape(len(raw), -1)


def _one_class(name: str) -> Problem:
    hint = "a model of two classes needs two outputs and a softmax"
    return Problem(f"output {name!r} holds one number per tile", hint)


def _other_count(name: str, found: int, labels: int) -> Problem:
    hint = "one label for each class, in the order of the model's outputs"
    return Problem(f"output {name!r} has {found} classes, the labels are {labels}", hint)


def _may_be_scores(shape: list[int | str | None], classes: int) -> bool:
    sides = [side for side in shape[1:] if side != 1]
    return len(shape) >= 2 and len(sides) == 1 and sides[0] in (classes, None)
