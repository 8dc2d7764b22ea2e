"""Which images are in a set and what they are said to show, and every way of getting it wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.evaluation.listing import ImageSetError, SetSource, list_set, parse_source

LABELS = ("bare soil", "Forest", "sea")
Paint = Callable[..., Path]


def labels_of(source: SetSource, **kwargs: str) -> dict[str, int | None]:
    """Image name -> label's number."""
    return {entry.file.name: entry.label for entry in list_set(source, LABELS, "match").entries}


def test_folders_of_classes_in_any_writing(tmp_path: Path, paint: Paint) -> None:
    """Exact names, other case, dashes and underscores; folders below a class belong to it."""
    for name in ("bare-soil/1.png", "Forest/1.png", "SEA/deep/1.png", "bare_soil/2.png"):
        paint(tmp_path / name)
    found = list_set(parse_source(str(tmp_path)), LABELS, "match")
    assert {entry.file.name: entry.label for entry in found.entries} == {
        "bare-soil/1.png": 0,
        "Forest/1.png": 1,
        "SEA/deep/1.png": 2,
        "bare_soil/2.png": 0,
    }
    assert found.labelled


def test_a_flat_folder_has_no_labels(tmp_path: Path, paint: Paint) -> None:
    """Images without class folders are a set without labels."""
    paint(tmp_path / "1.png")
    found = list_set(parse_source(str(tmp_path)), LABELS, "match")
    assert not found.labelled
    assert [entry.said for entry in found.entries] == [None]


def test_every_unknown_folder_is_told_at_once(tmp_path: Path, paint: Paint) -> None:
    """All names that are no labels, and the labels that there are."""
    for name in ("forest/1.png", "rivers/1.png", "moors/1.png"):
        paint(tmp_path / name)
    with pytest.raises(ImageSetError) as caught:
        list_set(parse_source(str(tmp_path)), LABELS, "match")
    text = str(caught.value)
    assert "moors, rivers" in text
    assert "bare soil, Forest, sea" in text


def test_folder_names_are_shown_or_ignored_on_request(tmp_path: Path, paint: Paint) -> None:
    """A set of OOD tiles keeps any names to show; an unlabelled set none."""
    paint(tmp_path / "rivers" / "1.png")
    source = parse_source(str(tmp_path))
    assert [entry.said for entry in list_set(source, LABELS, "show").entries] == ["rivers"]
    assert [entry.said for entry in list_set(source, LABELS, "ignore").entries] == [None]


def test_images_beside_class_folders_are_refused(tmp_path: Path, paint: Paint) -> None:
    """Half a label is a mistake: it must not pass for an unlabelled set."""
    paint(tmp_path / "sea" / "1.png")
    paint(tmp_path / "2.png")
    with pytest.raises(ImageSetError, match="labels are missing"):
        list_set(parse_source(str(tmp_path)), LABELS, "match")


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("path,label", ","),
        ("Image;Class", ";"),
        ("\ufefffile\tcategory", "\t"),
        ("name,label", ","),
    ],
)
def test_csv_headers_and_separators(
    tmp_path: Path, paint: Paint, header: str, separator: str
) -> None:
    """The usual names of the columns, in any case, with comma, semicolon, tab or a BOM."""
    paint(tmp_path / "pictures" / "1.png")
    table = tmp_path / "set.csv"
    table.write_text(f"{header}\npictures/1.png{separator}sea\n", encoding="utf-8")
    assert labels_of(parse_source(str(table))) == {"pictures/1.png": 2}


def test_rows_by_condition_and_another_root(tmp_path: Path, paint: Paint) -> None:
    """FILE.csv:part=test takes the rows of the test part; --root says where images are."""
    for name in ("a.png", "b.png", "c.png"):
        paint(tmp_path / "data" / name)
    table = tmp_path / "split.csv"
    rows = "a.png,sea,test,1\nb.png,Forest,train,1\nc.png,Forest,test,2\n"
    table.write_text("name,label,part,fold\n" + rows, encoding="utf-8")
    root = tmp_path / "data"
    assert labels_of(parse_source(f"{table}:part=test", root)) == {"a.png": 2, "c.png": 1}
    assert labels_of(parse_source(f"{table}:part=test, fold=2", root)) == {"c.png": 1}


def test_a_set_may_be_of_frames() -> None:
    """`:frames` stands behind a folder, a CSV, and a CSV with conditions."""
    assert parse_source("/x/flight:frames") == SetSource(Path("/x/flight"), {}, frames=True)
    found = parse_source("/x/s.csv:part=test:frames")
    assert found == SetSource(Path("/x/s.csv"), {"part": "test"}, frames=True)
    assert parse_source("/x/flight") == SetSource(Path("/x/flight"), {})


def test_a_file_with_a_colon_in_its_name_is_that_file(tmp_path: Path, paint: Paint) -> None:
    """What exists as it stands is taken as it stands."""
    folder = tmp_path / "odd:x=1"
    paint(folder / "1.png")
    assert labels_of(parse_source(str(folder))) == {"1.png": None}


def test_a_folder_with_a_csv_of_labels(tmp_path: Path, paint: Paint) -> None:
    """Paths are relative to the folder; images that are not in it are left out and counted."""
    for name in ("1.png", "2.png", "3.png"):
        paint(tmp_path / "set" / name)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n1.png,sea\n3.png,forest\n", encoding="utf-8")
    found = list_set(SetSource(tmp_path / "set", {}, None, table), LABELS, "match")
    assert [(entry.file.name, entry.label) for entry in found.entries] == [
        ("1.png", 2),
        ("3.png", 1),
    ]
    assert found.notes == ("1 images are not in labels.csv: left out",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1.png,sea\n", ["no column of paths", "no column of labels"]),
        ("path,label\n1.png,\n,sea\n", ["line 2: no label", "line 3: no path"]),
        ("path,label\n1.png,sea\n1.png,Forest\n", ["line 3: 1.png is sea and Forest"]),
        ("path,label\n1.png,sky\n2.png,moor\n", ["moor, sky"]),
        ("", ["no column of paths"]),
        ("path,label\n", ["none found"]),
    ],
)
def test_a_csv_that_does_not_hold_says_all_that_is_wrong(
    tmp_path: Path, text: str, told: list[str]
) -> None:
    """Missing columns, empty cells, contradictions, unknown classes: all of them at once."""
    table = tmp_path / "set.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(ImageSetError) as caught:
        list_set(parse_source(str(table)), LABELS, "match")
    assert all(part in str(caught.value) for part in told)


def test_wrong_conditions_and_places(tmp_path: Path, paint: Paint) -> None:
    """A column that is not there, a condition on a folder, binary rubbish, no such path."""
    table = tmp_path / "set.csv"
    table.write_text("path,label\n1.png,sea\n", encoding="utf-8")
    paint(tmp_path / "set" / "1.png")
    (tmp_path / "rubbish.csv").write_bytes(b"\xff\xfe\x00\x80path")
    for text, told in [
        (f"{table}:part=test", "no column 'part'"),
        (f"{tmp_path / 'set'}:part=test", "is a folder"),
        (str(tmp_path / "rubbish.csv"), "no text in UTF-8"),
        (str(tmp_path / "nowhere"), "does not exist"),
    ]:
        with pytest.raises(ImageSetError, match=told):
            list_set(parse_source(text), LABELS, "match")


def test_a_condition_that_no_row_fulfils_is_told_with_what_there_is(
    tmp_path: Path, paint: Paint
) -> None:
    """The values that the column has, and which of two conditions is to blame."""
    paint(tmp_path / "1.png")
    table = tmp_path / "set.csv"
    table.write_text(
        "path,label,part,site\n1.png,sea,train,x\n2.png,sea,test,y\n", encoding="utf-8"
    )
    with pytest.raises(ImageSetError, match="no row has part=tset") as one:
        list_set(parse_source(f"{table}:part=tset"), LABELS, "match")
    assert "test, train" in str(one.value)
    with pytest.raises(ImageSetError, match="part=test and the other conditions"):
        list_set(parse_source(f"{table}:part=test,site=x"), LABELS, "match")


def test_a_csv_away_from_its_images_asks_for_the_root(tmp_path: Path, paint: Paint) -> None:
    """Where not one image is there and nobody said where they are."""
    paint(tmp_path / "images" / "1.png")
    table = tmp_path / "set.csv"
    table.write_text("path,label\n1.png,sea\n", encoding="utf-8")
    with pytest.raises(ImageSetError, match="--root"):
        list_set(parse_source(str(table)), LABELS, "match")
    assert list_set(parse_source(str(table), tmp_path / "images"), LABELS, "match").entries


def test_one_image_is_not_enough(tmp_path: Path, paint: Paint) -> None:
    """It is no table that cannot be read."""
    with pytest.raises(ImageSetError, match="one is not enough"):
        list_set(parse_source(str(paint(tmp_path / "1.png"))), LABELS, "match")
