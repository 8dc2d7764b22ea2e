"""Read a TOML file into a settings struct and report all that is wrong with it at once."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from operations.errors import Problem, SettingsError
from operations.settings_words import Shape, allowed, shape_of

S = TypeVar("S", bound=Struct)

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_LENGTH = 60


def load(path: Path, kind: type[S]) -> S:
    """The settings in the TOML file at `path`.

    Raises:
        SettingsError: the file cannot be read, is no TOML, or holds keys or values that `kind`
            does not allow; lists every problem.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(
            str(path),
            [Problem(f"byte {error.start} is not UTF-8", "save the file as UTF-8 text")],
        ) from error
    except OSError as error:
        raise SettingsError(
            f"cannot read the settings file {path}",
            [Problem(error.strerror or str(error), "check the path and its permissions")],
        ) from error
    return parse(text, kind, str(path))


def parse(text: str, kind: type[S], source: str) -> S:
    """The settings in TOML `text`; `source` names it in messages.

    Raises:
        SettingsError: as `load`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _refused(source, [_syntax_problem(str(error), text)]) from error
    except RecursionError as error:
        raise _refused(source, [Problem("lists or tables are nested too deeply")]) from error
    except ValueError as error:  # Python refuses whole numbers of thousands of digits
        raise _refused(source, [Problem(f"not valid TOML: {error}")]) from error
    root = shape_of(kind)
    problems = list(_problems(data, root, (), root))
    if problems:
        raise _refused(source, problems)
    return msgspec.convert(data, kind)


def _refused(source: str, problems: list[Problem]) -> SettingsError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return SettingsError(f"{source}: {count} in the settings", problems)


def _syntax_problem(message: str, text: str) -> Problem:
    place = re.search(r"at line (\d+)", message)
    hint = "text needs quotes, true and false are lower case, each key stands on its own line"
    if place is None:
        return Problem(f"not valid TOML: {message}", hint)
    lines = text.split("\n")
    number = int(place.group(1))
    line = lines[number - 1].strip() if number <= len(lines) else ""
    return Problem(f"not valid TOML: {message}: {_shortened(line)}", hint)


def _problems(value: Any, shape: Shape, path: tuple[str, ...], root: Shape) -> Iterator[Problem]:
    """Everything wrong with `value` and below; nothing if and only if msgspec takes it."""
    shape = shape.among(value)
    below = list(_problems_below(value, shape, path, root))
    yield from below
    if below:
        return
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(f"{_dotted(path)}: {value} is not a finite number", _give(shape))
        return
    try:
        msgspec.convert(value, shape.annotation)
    except msgspec.ValidationError as error:
        yield _value_problem(value, shape, path, error)
    except OverflowError:  # a whole number too large for a float
        yield Problem(f"{_dotted(path)}: {_shown(value)} is too large", _give(shape))


def _problems_below(
    value: Any, shape: Shape, path: tuple[str, ...], root: Shape
) -> Iterator[Problem]:
    if isinstance(value, dict):
        if shape.fields is not None:
            yield from _table_problems(value, shape, path, root)
        elif shape.values is not None:
            for key, item in value.items():
                yield from _problems(item, shape.values, (*path, key), root)
    elif isinstance(value, list) and shape.values is not None and shape.is_list:
        for index, item in enumerate(value):
            yield from _problems(item, shape.values, (*path[:-1], f"{path[-1]}[{index}]"), root)


def _table_problems(
    table: dict[str, Any], shape: Shape, path: tuple[str, ...], root: Shape
) -> Iterator[Problem]:
    fields = shape.fields or {}
    for key, item in table.items():
        if key in fields:
            yield from _problems(item, fields[key], (*path, key), root)
        else:
            yield Problem(
                f"{_dotted((*path, key))}: unknown key", _nearest(key, list(fields), path, root)
            )
    for key in shape.required:
        if key not in table:
            yield Problem(f"{_dotted((*path, key))}: missing", _give(fields[key]))


def _nearest(key: str, known: list[str], path: tuple[str, ...], root: Shape) -> str:
    close = difflib.get_close_matches(key.lower(), known, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    elsewhere = [_dotted(place) for place in _places(root, ()) if place[-1] == key]
    if elsewhere:
        return "did you mean " + " or ".join(f"`{place}`" for place in elsewhere[:3]) + "?"
    where = f"[{_dotted(path)}]" if path else "this file"
    if not known:
        return f"{where} has no keys"
    return f"known keys of {where}: " + ", ".join(sorted(known))


def _places(shape: Shape, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in (shape.fields or {}).items():
        yield (*path, name)
        yield from _places(field, (*path, name))


def _value_problem(
    value: Any, shape: Shape, path: tuple[str, ...], error: msgspec.ValidationError
) -> Problem:
    where = _dotted(path)
    if shape.fields is not None and isinstance(value, dict):
        # Each value is well, so it is the struct's own check of them together that failed.
        reason = str(error).rsplit(" - at `$", 1)[0]
        return Problem(f"{where}: {reason}" if path else reason)
    hint = _give(shape)
    if isinstance(value, str) and shape.choices:
        close = difflib.get_close_matches(value.lower(), shape.choices, n=1)
        if close:
            hint = f'did you mean "{close[0]}"? {hint}'
    return Problem(f"{where}: {_shown(value)} is not allowed", hint)


def _give(shape: Shape) -> str:
    return f"give {allowed(shape.annotation)}"


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(
        key if _BARE_KEY.fullmatch(key.split("[", 1)[0]) else _quoted(key) for key in path
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _shortened(_quoted(value))
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a whole number of more than 30 digits"
    return _shortened(str(value))


def _shortened(text: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= _SHOWN_LENGTH else printable[: _SHOWN_LENGTH - 1] + "…"
