"""Class names in every usual form, and all that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.authoring.errors import AuthoringError
from edge_agent.authoring.labels import read_labels


@pytest.mark.parametrize(
    "text",
    [
        "soil\ngrass\nroad, paved\n",
        "\ufeffsoil\r\ngrass\r\nroad, paved",
        '["soil", "grass", "road, paved"]',
        '{"0": "soil", "2": "road, paved", "1": "grass"}',
        '{"soil": 0, "grass": 1, "road, paved": 2}',
        '2,"road, paved"\n0,soil\n1,grass\n',
        'index,name\n0,soil\n1,grass\n2,"road, paved"\n',
    ],
)
def test_forms(text: str, tmp_path: Path) -> None:
    """Lines, lists, objects either way round, and CSV with and without headings agree."""
    path = tmp_path / "labels"
    path.write_text(text, encoding="utf-8")
    assert read_labels(path) == ("soil", "grass", "road, paved")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("soil\n\nsoil\n" + "x" * 200, ["class 1", "longer than 128", "stand twice: soil"]),
        ("", ["names no class"]),
        ("[]", ["names no class"]),
        ("[1, null]", ["names 0, 1 are no texts"]),
        ('{"0": "soil", "2": "road"}', ["index missing: 1"]),
        ('{"0": "soil", "0": "road"}', ["index stands twice: 0"]),
        ('{"0": 7, "1": "road"}', ["the names of 0 are no texts"]),
        ("0,soil\nx,grass\n", ["no index: x"]),
        ("0,soil\n0,grass\n5,road\n", ["stands twice: 0", "index missing: 1"]),
        ("[not json", ["not valid JSON"]),
    ],
)
def test_all_that_is_wrong(text: str, expected: list[str], tmp_path: Path) -> None:
    """Every problem of a file is listed."""
    path = tmp_path / "labels"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AuthoringError) as caught:
        read_labels(path)
    for words in expected:
        assert words in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Absent, and not UTF-8."""
    with pytest.raises(AuthoringError, match="cannot read"):
        read_labels(tmp_path / "absent")
    (tmp_path / "latin").write_bytes("Stra\xdfe\n".encode("latin-1"))
    with pytest.raises(AuthoringError, match="not UTF-8"):
        read_labels(tmp_path / "latin")
