"""Which images are in a set, and what they are said to show: nothing is decoded here.

A set is a folder of class folders, a flat folder, or a CSV that names images and their labels.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from edge_agent.imagery.files import IMAGE_SUFFIXES, FrameFile, find_frame_files
from operations.errors import ExitCode, OperatorError, Problem

LabelUse = Literal["match", "show", "ignore"]
"""`match`: they must be labels of the bundle; `show`: any text, kept to be shown; or no matter."""

PATH_HEADERS: Final = ("path", "file", "filename", "name", "image", "image_path")
LABEL_HEADERS: Final = ("label", "class", "class_name", "category")
_SHOWN: Final = 12


class ImageSetError(OperatorError):
    """A set of images that cannot be used as it is; all that is wrong with it at once."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class SetSource:
    """Where a set is."""

    place: Path
    """A folder, or a CSV."""
    where: Mapping[str, str]
    """Of a CSV: only rows whose columns hold these values."""
    root: Path | None = None
    """Of a CSV: what its paths are relative to; None is its own folder."""
    labels: Path | None = None
    """Of a folder: a CSV that says what its images show."""
    frames: bool = False
    """Whether its images are to be cut into tiles as the filter does."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An image and what it is said to show."""

    file: FrameFile
    said: str | None
    """The label as the set states it."""
    label: int | None
    """Its place among the bundle's labels."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of a set, sorted as found."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    """What an operator should know of how the set was read."""

    @property
    def labelled(self) -> bool:
        """Whether every image has a label of the bundle."""
        return bool(self.entries) and all(entry.label is not None for entry in self.entries)


def parse_source(text: str, root: Path | None = None) -> SetSource:
    """`FOLDER`, `FILE.csv`, or `FILE.csv:part=test`; several conditions are joined by commas.

    `:frames` behind any of them has its images cut into tiles.
    """
    place, colon, last = text.rpartition(":")
    if not colon or Path(text).exists():
        return SetSource(Path(text), {}, root)
    if last == "frames":
        return replace(parse_source(place, root), frames=True)
    if "=" not in last:
        return SetSource(Path(text), {}, root)
    pairs = (condition.partition("=") for condition in last.split(","))
    return SetSource(Path(place), {key.strip(): value.strip() for key, _, value in pairs}, root)


def list_set(source: SetSource, known: Sequence[str], use: LabelUse) -> Listing:
    """Every image of the set with its label.

    Raises:
        ImageSetError: nothing is there, or labels that the bundle does not know; all at once.
    """
    if not source.place.exists():
        problem = Problem(f"{source.place} does not exist", "check the path")
        raise ImageSetError("no images to look at", [problem])
    if source.place.is_file() and source.place.suffix.lower() in IMAGE_SUFFIXES:
        problem = Problem(f"{source.place} is one image: one is not enough", "give a folder")
        raise ImageSetError("no set of images", [problem])
    if source.place.is_dir():
        said, notes = _of_folder(source, use)
    else:
        said, notes = _of_csv(source.place, source, source.root or source.place.parent)
    if not said:
        hint = "images end in .tif, .tiff, .jpg, .jpeg, .png or .webp"
        raise ImageSetError("no images to look at", [Problem(f"{source.place}: none found", hint)])
    matched = _matched(source.place, said, known) if use == "match" else ()
    _check_there(source, (file for file, _ in said))
    if use == "ignore":
        return Listing(tuple(Entry(file, None, None) for file, _ in said), notes)
    if use == "show":
        return Listing(tuple(Entry(file, label, None) for file, label in said), notes)
    return Listing(matched, notes)


def _check_there(source: SetSource, files: Iterable[FrameFile]) -> None:
    """Raises ImageSetError where a CSV stands elsewhere than its images, and nobody said where."""
    paths = [file.path for file in files]
    if source.root is not None or any(path.exists() for path in paths):
        return
    told = f"not one image of {source.place} is there; the first would be {paths[0]}"
    hint = "say what its paths are relative to: --root DIR"
    raise ImageSetError("no images to look at", [Problem(told, hint)])


_Said = list[tuple[FrameFile, str | None]]


def _of_folder(source: SetSource, use: LabelUse) -> tuple[_Said, tuple[str, ...]]:
    if source.where:
        raise ImageSetError(
            "a condition needs a CSV",
            [Problem(f"{source.place} is a folder", "conditions choose rows of a CSV")],
        )
    if source.labels is not None:
        said, notes = _of_csv(source.labels, source, source.place)
        listed = {file.path.resolve() for file, _ in said}
        files = find_frame_files(source.place)
        left = sum(1 for file in files if file.path.resolve() not in listed)
        if left:
            notes = (*notes, f"{left} images are not in {source.labels.name}: left out")
        return said, notes
    said = []
    beside = 0
    for file in find_frame_files(source.place):
        folder, slash, _ = file.name.partition("/")
        said.append((file, folder if slash else None))
        beside += not slash
    if use == "match" and 0 < beside < len(said):
        problem = f"{beside} images lie beside the class folders of {source.place}"
        hint = "move them into the folder of their class, or away"
        raise ImageSetError("labels are missing", [Problem(problem, hint)])
    return said, ()


def _of_csv(table: Path, source: SetSource, root: Path) -> tuple[_Said, tuple[str, ...]]:
    rows = _rows(table, source.where)
    said: dict[str, str] = {}
    problems = []
    for number, (path, label) in rows:
        if not path or not label:
            problems.append(Problem(f"line {number}: no {'label' if path else 'path'}"))
        elif said.setdefault(path, label) != label:
            problems.append(Problem(f"line {number}: {path} is {said[path]} and {label}"))
    if problems:
        raise ImageSetError(f"{table} cannot be used", _shortened(problems))
    return [(_file(root / path, path), label) for path, label in said.items()], ()


def _rows(table: Path, where: Mapping[str, str]) -> list[tuple[int, tuple[str, str]]]:
    """Line numbers, paths and labels of the rows that fulfil the conditions."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ImageSetError(f"{table} cannot be read", [Problem(f"{told}")]) from error
    first = text.partition("\n")[0]
    reader = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=first.count))
    headers = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    path = next((headers[name] for name in PATH_HEADERS if name in headers), None)
    label = next((headers[name] for name in LABEL_HEADERS if name in headers), None)
    wanted = {headers.get(column.lower()): value for column, value in where.items()}
    problems = []
    if path is None:
        problems.append(Problem("no column of paths", f"call it {' or '.join(PATH_HEADERS)}"))
    if label is None:
        problems.append(Problem("no column of labels", f"call it {' or '.join(LABEL_HEADERS)}"))
    problems += [
        Problem(f"no column {column!r}", f"it has: {', '.join(headers)}")
        for column in where
        if column.lower() not in headers
    ]
    if path is None or label is None or problems:
        raise ImageSetError(f"{table} cannot be used", problems)
    numbered = [(reader.line_num, row) for row in reader]
    found = [
        (number, ((row[path] or "").strip(), (row[label] or "").strip()))
        for number, row in numbered
        if all((row[column or ""] or "").strip() == value for column, value in wanted.items())
    ]
    if wanted and not found:
        raise _no_row(table, wanted, [row for _, row in numbered])
    return found


def _no_row(
    table: Path, wanted: Mapping[str | None, str], rows: Sequence[Mapping[str, str | None]]
) -> ImageSetError:
    """Says which values there are in the columns that are asked about."""
    problems = []
    for column, value in wanted.items():
        there = sorted({(row[column or ""] or "").strip() for row in rows})
        told = f"{column} has: {_listed(there)}" if there else "it has no rows"
        rest = " and the other conditions" if value in there else ""
        problems.append(Problem(f"no row has {column}={value}{rest}", told))
    return ImageSetError(f"no row of {table} is asked for", problems)


def _file(path: Path, name: str) -> FrameFile:
    """As the set names it; one that is not there will be told when it is to be opened."""
    try:
        status = path.stat()
    except OSError:
        return FrameFile(path, name, 0, 0)
    return FrameFile(path, name, status.st_size, status.st_mtime_ns)


def _matched(place: Path, said: _Said, known: Sequence[str]) -> tuple[Entry, ...]:
    """Labels exactly as the bundle has them, else without regard to case, blanks and dashes."""
    exact = {label: number for number, label in enumerate(known)}
    loose: dict[str, list[int]] = {}
    for label, number in exact.items():
        loose.setdefault(_plain(label), []).append(number)

    def number_of(label: str) -> int | None:
        alike = loose.get(_plain(label), [])
        return exact.get(label, alike[0] if len(alike) == 1 else None)

    found = {label: number_of(label) for _, label in said if label is not None}
    unknown = sorted(label for label, number in found.items() if number is None)
    if unknown:
        told = f"{len(unknown)} names in {place} are none of its labels: {_listed(unknown)}"
        hint = f"labels: {', '.join(known)}. To leave the names unread: --unlabelled"
        raise ImageSetError("the bundle does not know these classes", [Problem(told, hint)])
    return tuple(
        Entry(file, label, None if label is None else found[label]) for file, label in said
    )


def _plain(label: str) -> str:
    return re.sub(r"[\s_\-]+", "", label).casefold()


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def _shortened(problems: list[Problem]) -> list[Problem]:
    rest = len(problems) - _SHOWN
    return problems[:_SHOWN] + ([Problem(f"and {rest} more like these")] if rest > 0 else [])
