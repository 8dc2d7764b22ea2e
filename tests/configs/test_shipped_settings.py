"""The shipped settings files say what the programs do: every key, at its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_agent.settings import EdgeSettings
from operations import settings_file
from operations.broker import TlsSettings
from server_sync.settings import ServerSettings

SHIPPED = [("edge.toml", EdgeSettings), ("server.toml", ServerSettings)]
"""File below configs/, and the settings it spells out."""


def keys(kind: type[msgspec.Struct], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All keys of a settings struct, each as the way to it."""
    for field in msgspec.structs.fields(kind):
        way = (*above, field.encode_name)
        inner: Any = TlsSettings if way == ("broker", "tls") else field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from keys(inner, way)
        else:
            yield way


def uncommented(path: Path) -> str:
    """The file with its commented-out settings put in force."""
    setting = r"(\[[a-z.]+\]|[a-z_]+ = \S.*)"
    text = path.read_text(encoding="utf-8")
    return re.sub(rf"^# {setting}$", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize(("name", "kind"), SHIPPED)
def test_the_file_holds_the_defaults(
    repository: Path, name: str, kind: type[msgspec.Struct]
) -> None:
    """Loading the shipped file gives exactly the defaults of the code."""
    assert settings_file.load(repository / "configs" / name, kind) == kind()


@pytest.mark.parametrize(("name", "kind"), SHIPPED)
def test_every_key_stands_in_the_file_under_a_comment(
    repository: Path, name: str, kind: type[msgspec.Struct]
) -> None:
    """Each key is there, in force or commented out, and nothing else is."""
    path = repository / "configs" / name
    content = msgspec.toml.decode(uncommented(path).encode())
    for way in keys(kind):
        place: Any = content
        for step in way:
            assert step in place, ".".join(way)
            place = place[step]
    settings_file.parse(uncommented(path), kind, name)
