"""Several bundles of one model each -> one bundle of all of them. Does without onnx if it must."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.authoring.checking import examine
from edge_agent.authoring.describing import bundle_toml
from edge_agent.authoring.errors import AuthoringError
from edge_agent.authoring.joined_card import joined_card
from edge_agent.authoring.known_heads import known_head
from edge_agent.authoring.likeness import Part, likeness_problems
from edge_agent.authoring.order import naming_problems, plain_name
from edge_agent.authoring.placing import (
    CARD_FILE,
    copy_file,
    place_problems,
    put_whole,
    write_file,
)
from edge_agent.inference.bundle import (
    BUNDLE_FILE,
    MAX_MEMBERS,
    Bundle,
    BundleDescription,
    BundleError,
    ModelFile,
    OutputSpec,
    Provenance,
    model_digest,
    read_bundle,
)
from edge_agent.inference.ensemble import combine_heads
from edge_agent.inference.head_file import HEAD_FILE, HeadArrays, write_head
from operations.errors import ExitCode, Problem

FEWEST: Final = 2


@dataclass(frozen=True, slots=True)
class JoinOrder:
    """All that `bundle join` is told."""

    bundles: tuple[Path, ...]
    """In the order that the members will have."""
    out: Path
    name: str | None = None
    version: str = "1.0.0"
    force: bool = False

    @property
    def bundle_name(self) -> str:
        """As given, or made of the folder's name."""
        if self.name is not None:
            return self.name
        return plain_name(self.out.absolute().name) or "ensemble"


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of it."""

    members: tuple[Part, ...]
    head: bool
    """Whether the weights of the last layer are known, of every member."""
    notes: tuple[str, ...]


def join_bundles(order: JoinOrder) -> Joined:
    """Make the bundle `order.out`: the models as members, side by side, in the order given.

    Calibrations are not taken over: that of a member says nothing of what all say together.

    Raises:
        AuthoringError: the bundles do not fit together, or not to the place; every problem.
        BundleError: what was written is not what a device takes.
    """
    parts, problems = _read(order)
    problems += _order_problems(order)
    problems += likeness_problems(parts)
    if problems:
        error = AuthoringError(f"{order.out} was not made", problems)
        if len(problems) == len([*naming_problems(order.bundle_name, order.version)]):
            error.exit_code = ExitCode.USAGE
        raise error
    description = _description(order, parts)
    heads, notes = _heads(parts)
    card = joined_card(description, [part.bundle.description for part in parts], bool(heads))

    def fill(folder: Path) -> None:
        for part, member in zip(parts, description.members, strict=True):
            copy_file(part.bundle.model_paths[0], folder / member.file)
        if heads:
            digest = model_digest(description).hex()
            write_head(folder / HEAD_FILE, combine_heads(heads), model_sha256=digest)
        write_file(folder / CARD_FILE, card.encode())
        write_file(folder / BUNDLE_FILE, bundle_toml(description).encode())
        if found := examine(folder).problems:
            raise BundleError(f"{order.out} was not made: it would not hold", found)

    put_whole(order.out, fill)
    return Joined(tuple(parts), bool(heads), tuple(notes))


def _read(order: JoinOrder) -> tuple[list[Part], list[Problem]]:
    """The bundles that can be read, and what is wrong with the others, each by its name."""
    parts: list[Part] = []
    problems: list[Problem] = []
    for path in order.bundles:
        try:
            bundle = read_bundle(path, calibrated=False)
            if bundle.description.members:
                hint = "name the bundles that it was made of"
                problems.append(Problem(f"{path} is an ensemble already", hint))
                continue
            known = known_head(bundle)
        except BundleError as error:
            found = error.problems or (Problem(error.summary),)
            problems += [Problem(f"{path}: {each.message}", each.hint) for each in found]
            continue
        parts.append(Part(str(path), bundle, known))
    return parts, problems


def _order_problems(order: JoinOrder) -> Iterable[Problem]:
    if not FEWEST <= len(order.bundles) <= MAX_MEMBERS:
        hint = f"an ensemble has {FEWEST} to {MAX_MEMBERS} members"
        yield Problem(f"bundles given: {len(order.bundles)}", hint)
    yield from naming_problems(order.bundle_name, order.version)
    if any(path.resolve() == order.out.resolve() for path in order.bundles):
        yield Problem(f"{order.out} is one of the bundles", "give another folder with --out")
    else:
        yield from place_problems(order.out, order.force)


def _heads(parts: Sequence[Part]) -> tuple[list[HeadArrays], list[str]]:
    """Every member's last layer, or none at all; and what is lost, in words."""
    bare = _without_embedding(parts)
    if bare:
        lost = "scores are of logits alone"
        return [], [f"no embedding, since {', '.join(bare)} has none: {lost}"]
    notes = [
        f"{part.name}: {part.known.lack}; without its last layer no vim and no fdbd"
        for part in parts
        if part.known.head is None
    ]
    heads = [part.known.head for part in parts if part.known.head is not None]
    return ([], notes) if notes else (heads, [])


def _without_embedding(parts: Sequence[Part]) -> list[str]:
    return [part.name for part in parts if part.bundle.description.output.embedding is None]


def _description(order: JoinOrder, parts: Sequence[Part]) -> BundleDescription:
    first = parts[0].bundle.description
    bare = _without_embedding(parts)
    embedding = None if bare else first.output.embedding
    return BundleDescription(
        name=order.bundle_name,
        version=order.version,
        task=first.task,
        labels=first.labels,
        input=first.input,
        output=OutputSpec(first.output.logits, embedding),
        provenance=Provenance(
            _once(part.bundle.description.provenance.training_data for part in parts),
            _once(part.bundle.description.provenance.licence for part in parts),
        ),
        members=tuple(_member(place, part.bundle) for place, part in enumerate(parts, 1)),
    )


def _member(place: int, bundle: Bundle) -> ModelFile:
    name = f"{place}-{bundle.description.name}.onnx"
    return ModelFile(name, bundle.description.networks[0].sha256)


def _once(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
