"""Run an iterator in a thread of its own, a bounded number of items ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_STOP_POLL_S = 0.2


class EndedError(Exception):
    """The iterator has no more items."""


class ReadAhead(Generic[Item]):
    """The items of `source`, read by one thread; whatever it raises is raised at the consumer."""

    def __init__(self, source: Iterator[Item], depth: int) -> None:
        """`depth` items at most wait for the consumer, so memory stays bounded."""
        self._queue: queue.Queue[Item | BaseException] = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(source,), name="read-ahead")
        self._thread.start()

    def get(self, timeout_s: float) -> Item | None:
        """The next item, or None when none came within `timeout_s` seconds.

        Raises:
            EndedError: there are no more.
        """
        try:
            item = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stop reading and wait for the thread; items not taken are dropped."""
        self._stopped.set()
        self._thread.join()

    def _run(self, source: Iterator[Item]) -> None:
        try:
            for item in source:
                if not self._offer(item):
                    return
            self._offer(EndedError())
        except BaseException as error:  # noqa: BLE001 - handed over, never swallowed
            self._offer(error)

    def _offer(self, item: Item | BaseException) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_STOP_POLL_S)
            except queue.Full:
                continue
            return True
        return False
