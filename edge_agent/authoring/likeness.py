"""Do bundles see the same and name the same? Members of one ensemble must."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge_agent.authoring.known_heads import KnownHead
from edge_agent.inference.bundle import Bundle, BundleDescription
from operations.errors import Problem


@dataclass(frozen=True, slots=True)
class Part:
    """A bundle and what the operator calls it."""

    name: str
    bundle: Bundle
    known: KnownHead
    """The last layer of its model."""


_TILES: Final = "members see the very same tiles: train them alike, or leave it out"
_LABELS: Final = "members name the same classes in the same order"
_AGAIN: Final = "bundles made by edge-agent bundle create have the same names"
_COMPARED: Final[tuple[tuple[str, Callable[[BundleDescription], Any], str], ...]] = (
    ("input.name", lambda each: each.input.name, _AGAIN),
    ("input.size", lambda each: each.input.size, _TILES),
    ("input.colour", lambda each: each.input.colour, _TILES),
    ("input.mean", lambda each: each.input.mean, _TILES),
    ("input.scale", lambda each: each.input.scale, _TILES),
    ("input.gsd_m", lambda each: each.input.gsd_m, _TILES),
    ("output.logits", lambda each: each.output.logits, _AGAIN),
)


def likeness_problems(parts: Sequence[Part]) -> list[Problem]:
    """All in which a bundle differs from the first, and models that stand twice."""
    return [
        problem for place, part in enumerate(parts) for problem in _differences(parts[:place], part)
    ]


def _differences(before: Sequence[Part], part: Part) -> Iterator[Problem]:
    mine = part.bundle.description
    twin = next((p for p in before if p.bundle.model_sha256 == part.bundle.model_sha256), None)
    if twin is not None:
        hint = "a copy never disagrees; train it with another seed, or leave it out"
        yield Problem(f"{part.name} has the same model as {twin.name}", hint)
    if not before:
        return
    first = before[0]
    theirs = first.bundle.description
    if mine.labels != theirs.labels:
        yield _labels_problem(part.name, mine.labels, first.name, theirs.labels)
    for key, value, hint in _COMPARED:
        if value(mine) != value(theirs):
            told = f"{_told(value(mine))}, in {first.name} {_told(value(theirs))}"
            yield Problem(f"{part.name}: {key} is {told}", hint)
    names = [each.output.embedding for each in (mine, theirs)]
    if None not in names and names[0] != names[1]:
        told = f"{names[0]!r}, in {first.name} {names[1]!r}"
        yield Problem(f"{part.name}: output.embedding is {told}", _AGAIN)


def _labels_problem(name: str, mine: Sequence[str], first: str, theirs: Sequence[str]) -> Problem:
    more = ", ".join(label for label in mine if label not in theirs)
    less = ", ".join(label for label in theirs if label not in mine)
    if not more and not less:
        place = next(i for i, label in enumerate(mine) if label != theirs[i])
        what = f"other order of labels: class {place} is {mine[place]!r}"
        return Problem(f"{name}: {what}, in {first} {theirs[place]!r}", _LABELS)
    told = "; ".join([f"has {more}"] * bool(more) + [f"lacks {less}"] * bool(less))
    return Problem(f"{name}: other labels than {first}: {told}", _LABELS)


def _told(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else repr(value)
