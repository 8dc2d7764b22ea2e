"""Watch mode, on real files and a clock that the test turns."""

from __future__ import annotations

import itertools
import os

import pytest

from edge_agent.imagery.files import scan
from edge_agent.imagery.settings import ImagerySettings
from edge_agent.imagery.watch import watch

SETTINGS = ImagerySettings(settle_s=2.0, poll_s=1.0)


class Field:
    """A folder, and a clock whose sleeping runs what the test planned for that moment."""

    def __init__(self, folder, until: float) -> None:
        self.folder = folder
        self.now = 0.0
        self.until = until
        self.plans = []
        self.seen = []

    def at(self, moment, action) -> None:
        """Do `action` when the clock reaches `moment`."""
        self.plans.append((moment, action))

    def sleep(self, seconds) -> None:
        assert seconds > 0
        self.now += seconds
        for plan in sorted(self.plans, key=lambda plan: plan[0]):
            if plan[0] <= self.now:
                self.plans.remove(plan)
                plan[1]()

    def watch(self, settings=SETTINGS):
        """(moment, name) of each file given."""
        files = watch(
            self.folder, settings, lambda: self.now >= self.until, lambda: self.now, self.sleep
        )
        return [(self.now, file.name, file.size) for file in files]

    def write(self, name, size, append=False):
        """An action: write or append so many bytes; each writing has a time of its own."""

        def action():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            with path.open("ab" if append else "wb") as file:
                file.write(bytes(size))
            stamp = 10**18 + int(self.now * 1e9)
            os.utime(path, ns=(stamp, stamp))

        return action


@pytest.fixture
def field(tmp_path) -> Field:
    """An empty folder, watched for 20 seconds."""
    return Field(tmp_path, until=20.0)


def test_files_that_are_there_come_after_the_settling_time(field) -> None:
    """Nothing tells a complete file from a half one but that it rests."""
    field.write("b.jpg", 5)()
    field.write("a.jpg", 6)()
    assert field.watch() == [(2.0, "a.jpg", 6), (2.0, "b.jpg", 5)]


def test_a_growing_file_waits_until_it_rests(field) -> None:
    """Written in pieces from second 3 to 8: given at 10, once, whole."""
    for second in range(3, 9):
        field.at(second, field.write("sub/big.tif", 100, append=True))
    assert field.watch() == [(10.0, "sub/big.tif", 600)]


def test_same_size_but_new_time_is_still_being_written(field) -> None:
    """Programs that allocate first and fill later change only the time."""
    for second in range(1, 7):
        field.at(second, field.write("a.tif", 100))
    assert field.watch() == [(8.0, "a.tif", 100)]


def test_renamed_from_a_partial_name_comes_at_once(field) -> None:
    """The copying program says itself that the file is complete."""
    field.at(3.0, field.write("a.jpg.part", 7))
    field.at(5.0, lambda: (field.folder / "a.jpg.part").rename(field.folder / "a.jpg"))
    assert field.watch() == [(5.0, "a.jpg", 7)]


def test_each_file_is_given_once_and_again_when_rewritten(field) -> None:
    """A new flight may use the old names."""
    field.write("a.jpg", 5)()
    field.at(10.0, field.write("a.jpg", 9))
    assert field.watch() == [(2.0, "a.jpg", 5), (12.0, "a.jpg", 9)]


def test_no_settling_time_means_at_once(field) -> None:
    """For folders into which files are only renamed."""
    field.write("a.jpg", 5)()
    assert field.watch(ImagerySettings(settle_s=0.0)) == [(0.0, "a.jpg", 5)]


def test_the_folder_may_come_later(field, caplog) -> None:
    """A card that is mounted after the start; its absence is told once."""
    field.folder = field.folder / "card"
    field.at(6.0, field.write("a.jpg", 5))
    assert field.watch() == [(8.0, "a.jpg", 5)]
    assert caplog.text.count("cannot look into") == 1


def test_a_link_in_a_circle_is_given_once_and_told_once(field, caplog) -> None:
    """It is no frame, but one that was asked for; what is no frame by its name is only told."""
    (field.folder / "loop.jpg").symlink_to(field.folder / "loop.jpg")
    (field.folder / "loop.jpg.part").symlink_to(field.folder / "loop.jpg.part")
    field.write("z.jpg", 5)()
    assert [(moment, name) for moment, name, _ in field.watch()] == [
        (2.0, "loop.jpg"), (2.0, "z.jpg"),
    ]  # fmt: skip
    assert caplog.text.count("cannot look into") == 1


def test_slow_looks_are_followed_by_long_pauses(field, monkeypatch) -> None:
    """A card that takes 3 s to list gets 30 s of peace after each look, and the usual pause."""
    looks = []

    def slow_scan(folder, tell):
        looks.append(field.now)
        field.now += 3.0
        return scan(folder, tell)

    monkeypatch.setattr("edge_agent.imagery.watch.scan", slow_scan)
    field.until = 100.0
    field.watch()
    assert looks == [0.0, 31.0, 62.0, 93.0]


def test_stop_is_heeded_within_a_breath(field) -> None:
    """Even in a pause of an hour it is asked twice a second."""
    asked = []
    field.until = 3.2

    def stopped():
        asked.append(field.now)
        return field.now >= field.until

    list(
        watch(field.folder, ImagerySettings(poll_s=3600.0), stopped, lambda: field.now, field.sleep)
    )
    assert field.now == 3.5
    assert all(b - a <= 0.5 for a, b in itertools.pairwise(asked))
