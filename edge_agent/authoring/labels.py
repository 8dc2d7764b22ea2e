"""Class names from a file: lines, a JSON list or object, or CSV of index and name."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.authoring.errors import AuthoringError
from operations.errors import Problem

LONGEST_NAME = 128
_FORMS = "one name per line, a JSON list, a JSON object of index and name, or CSV lines index,name"


def read_labels(path: Path) -> tuple[str, ...]:
    """The names in the order of the model's classes.

    Raises:
        AuthoringError: the file cannot be read or names are missing, double, empty or too long;
            lists every problem.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = Problem(f"cannot read {path}: {error.strerror}", "check the path of --labels")
        raise AuthoringError("the labels cannot be used", [problem]) from error
    except UnicodeDecodeError as error:
        problem = Problem(f"{path}: byte {error.start} is not UTF-8", "save the file as UTF-8 text")
        raise AuthoringError("the labels cannot be used", [problem]) from error
    names, problems = _parse(text)
    problems += _name_problems(names)
    if not names and not problems:
        problems.append(Problem("it names no class", f"give {_FORMS}"))
    if problems:
        raise AuthoringError(f"{path} cannot be used as labels", problems)
    return tuple(names)


def _parse(text: str) -> tuple[list[str], list[Problem]]:
    if text.lstrip().startswith(("[", "{")):
        return _parse_json(text)
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    rows = [row for row in csv.reader(io.StringIO(text), skipinitialspace=True) if row]
    if rows and all(len(row) == 2 for row in rows):
        numbered = rows if _is_index(rows[0][0]) else rows[1:]  # a line of headings
        if numbered and any(_is_index(index) for index, _ in numbered):
            return _from_pairs([(index, name.strip()) for index, name in numbered])
    return lines, []


def _parse_json(text: str) -> tuple[list[str], list[Problem]]:
    try:
        value = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        return [], [Problem(f"not valid JSON: {error}", f"give {_FORMS}")]
    if isinstance(value, _Pairs):
        entries = list(value)
        if entries and not any(_is_index(key) for key, _ in entries):
            # {"name": index}, as some training programs write it
            entries = [(str(index), name) for name, index in entries]
        return _from_pairs(entries)
    return _texts(value)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands, doubled keys included."""


def _texts(values: list[Any]) -> tuple[list[str], list[Problem]]:
    wrong = [place for place, value in enumerate(values) if not isinstance(value, str)]
    if wrong:
        return [], [Problem(f"names {_some(wrong)} are no texts", f"give {_FORMS}")]
    return values, []


def _from_pairs(pairs: list[tuple[Any, Any]]) -> tuple[list[str], list[Problem]]:
    bad = [str(index) for index, _ in pairs if not _is_index(str(index))]
    odd = [str(index) for index, name in pairs if not isinstance(name, str)]
    problems = []
    if bad:
        problems.append(Problem(f"no index: {_some(bad)}", "whole numbers from 0 on"))
    if odd:
        problems.append(Problem(f"the names of {_some(odd)} are no texts"))
    if problems:
        return [], problems
    counts = Counter(int(index) for index, _ in pairs)
    doubled = sorted(index for index, count in counts.items() if count > 1)
    missing = sorted(set(range(len(counts))) - counts.keys())
    beyond = sorted(counts.keys() - set(range(len(counts))))
    if doubled:
        problems.append(Problem(f"index stands twice: {_some(doubled)}", "number each class once"))
    if missing:
        hint = f"number from 0; beyond the {len(counts)} classes stand {_some(beyond)}"
        problems.append(Problem(f"index missing: {_some(missing)}", hint))
    by_index: Mapping[int, str] = {int(index): name for index, name in pairs}
    return [by_index[index] for index in sorted(by_index)], problems


def _name_problems(names: list[str]) -> list[Problem]:
    problems = []
    empty = [place for place, name in enumerate(names) if not name.strip()]
    long = [place for place, name in enumerate(names) if len(name) > LONGEST_NAME]
    doubled = sorted(name for name, count in Counter(names).items() if count > 1 and name.strip())
    if empty:
        problems.append(Problem(f"no name for class {_some(empty)}", "each class needs a name"))
    if long:
        problems.append(
            Problem(f"names of class {_some(long)} are longer than {LONGEST_NAME} characters")
        )
    if doubled:
        problems.append(Problem(f"names stand twice: {_some(doubled)}", "name each class once"))
    return problems


def _is_index(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdigit() and len(text.strip()) < 10


def _some(values: list[Any]) -> str:
    shown = ", ".join(str(value)[:40] for value in values[:8])
    return shown + (f" and {len(values) - 8} more" if len(values) > 8 else "")
