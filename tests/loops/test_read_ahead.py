"""The reading thread: order, bounds, errors, and an end whenever one is asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from edge_agent.read_ahead import EndedError, ReadAhead


def drain(reader: ReadAhead[int]) -> list[int]:
    """Everything up to the end."""
    items = []
    while True:
        try:
            item = reader.get(5.0)
        except EndedError:
            return items
        assert item is not None
        items.append(item)


def test_items_come_in_order_to_the_end() -> None:
    """All items arrive, in order, and then the end is told."""
    reader = ReadAhead(iter(range(1000)), 3)
    assert drain(reader) == list(range(1000))
    reader.close()


def test_reads_no_further_ahead_than_told() -> None:
    """With nobody taking items, no more than depth + 1 are ever produced."""
    produced = []

    def source() -> Iterator[int]:
        for number in range(100):
            produced.append(number)
            yield number

    reader = ReadAhead(source(), 4)
    deadline = time.monotonic() + 5
    while len(produced) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(produced) == 5
    reader.close()


def test_an_error_of_the_source_reaches_the_consumer() -> None:
    """Items before the error arrive, then the error itself."""

    def source() -> Iterator[int]:
        yield 1
        raise OSError("disk gone")

    reader = ReadAhead(source(), 2)
    assert reader.get(5.0) == 1
    with pytest.raises(OSError, match="disk gone"):
        reader.get(5.0)
    reader.close()


def test_a_silent_source_gives_none_and_can_be_closed() -> None:
    """Without items get returns None after its timeout; close ends a full reader at once."""
    release = threading.Event()

    def silent() -> Iterator[int]:
        release.wait(10)
        yield from range(50)

    reader = ReadAhead(silent(), 2)
    assert reader.get(0.05) is None
    release.set()
    assert reader.get(5.0) == 0
    reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]
