"""Finding image files."""

from __future__ import annotations

import logging
import os

import pytest

from edge_agent.imagery.files import find_frame_files
from edge_agent.imagery.frames import FrameError, TilePlan, open_frame


def touch(folder, *names) -> None:
    """Small files, folders made as needed."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_images_are_found_in_all_folders_sorted(tmp_path) -> None:
    """Every suffix in any case; names have forward slashes and are relative."""
    touch(tmp_path, "b.TIF", "a/z.jpg", "a/b/1.jpeg", "c.png", "d.webp", "e.tiff", "a.JPG")
    names = [file.name for file in find_frame_files(tmp_path)]
    assert names == ["a/b/1.jpeg", "a/z.jpg", "a.JPG", "b.TIF", "c.png", "d.webp", "e.tiff"]


def test_what_is_no_frame_is_left_out(tmp_path) -> None:
    """Hidden, partial, databases, sidecars, folders named like images."""
    touch(
        tmp_path,
        ".hidden.jpg", ".trash/a.jpg", "a.jpg.part", "b.tif.tmp", "c.jpg~", "d.jpg.crdownload",
        "edge.db", "edge.db-wal", "a.tif.aux.xml", "a.tif.ovr", "notes.txt", "folder.jpg/real.jpg",
    )  # fmt: skip
    assert [file.name for file in find_frame_files(tmp_path)] == ["folder.jpg/real.jpg"]


def test_one_file_may_be_given_whatever_its_name(tmp_path) -> None:
    """The operator who names a file means it."""
    touch(tmp_path, ".odd.part")
    (file,) = find_frame_files(tmp_path / ".odd.part")
    status = (tmp_path / ".odd.part").stat()
    assert (file.name, file.size, file.mtime_ns) == (".odd.part", 9, status.st_mtime_ns)


def test_links_are_followed_to_files_but_never_in_circles(tmp_path) -> None:
    """A folder linked into itself ends; a dangling link is nothing; a pipe is not waited for."""
    touch(tmp_path, "real.jpg")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "real.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert [file.name for file in find_frame_files(tmp_path)] == ["link.jpg", "real.jpg"]


def test_names_that_are_no_text_are_made_printable(tmp_path) -> None:
    """Cameras and old disks write other encodings; the record must hold the name."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    with open(path, "wb") as file:  # noqa: PTH123 - the name is bytes
        file.write(b"x")
    (found,) = find_frame_files(tmp_path)
    assert found.name == "caf\\xe9.jpg"
    assert found.path.read_bytes() == b"x"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any folder")
def test_a_locked_folder_is_told_and_passed(tmp_path, caplog) -> None:
    """The rest of the card is read."""
    touch(tmp_path, "a.jpg", "locked/b.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        assert [file.name for file in find_frame_files(tmp_path)] == ["a.jpg"]
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert "cannot look into" in caplog.text


def test_a_missing_folder_holds_nothing(tmp_path, caplog) -> None:
    """And the log says so."""
    with caplog.at_level(logging.WARNING):
        assert list(find_frame_files(tmp_path / "gone")) == []
    assert "cannot look into" in caplog.text


def test_a_link_in_a_circle_fails_as_one_frame(tmp_path) -> None:
    """The others are found; the circle is told where frames are told that cannot be opened."""
    touch(tmp_path, "a.jpg", "sub/z.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    files = list(find_frame_files(tmp_path))
    assert [file.name for file in files] == ["a.jpg", "loop.jpg", "sub/z.jpg"]
    with pytest.raises(FrameError) as caught, open_frame(files[1], TilePlan((32, 32), 0.6)):
        pass
    assert caught.value.reason == "unreadable"
    assert list(find_frame_files(tmp_path)) == files


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look at any file")
def test_files_that_may_be_listed_but_not_looked_at_fail_one_by_one(tmp_path) -> None:
    """A folder without the right to enter."""
    touch(tmp_path, "closed/a.jpg", "closed/b.jpg.part", "z.jpg")
    (tmp_path / "closed").chmod(0o400)
    try:
        files = list(find_frame_files(tmp_path))
        assert [(file.name, file.size) for file in files] == [("closed/a.jpg", 0), ("z.jpg", 5)]
        with pytest.raises(FrameError, match="unreadable"):
            open_frame(files[0], TilePlan((32, 32), 0.6)).__enter__()
        assert list(find_frame_files(tmp_path / "closed" / "a.jpg")) == []
    finally:
        (tmp_path / "closed").chmod(0o700)
