"""The worker between link and store: several messages per commit, answers after it, then acks."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, SQLAlchemyError

from server_sync.intake.answers import answers
from server_sync.intake.apply import FORGET_AT_ONCE, Applied, Intake
from server_sync.intake.inbox import Inbound
from server_sync.store.blobs import Blobs
from server_sync.store.metadata import Metadata

_log = logging.getLogger(__name__)

_IDLE_S = 1.0
_BACKOFF_S = (0.2, 30.0)
_BATCH_BYTES = 8 * 1024 * 1024
_RACES = 5
_TIDY_S = 3600.0


class Answering(Protocol):
    """What the worker needs of a link."""

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send an answer; False if it is lost."""
        ...

    def acknowledge(self, message: Inbound) -> None:
        """Tell the broker that a message is safe."""
        ...


class Worker:
    """Takes messages from the inbox into the store until told to stop."""

    def __init__(
        self,
        inbox: queue.Queue[Inbound],
        link: Answering,
        metadata: Metadata,
        intake: Intake,
        blobs: Blobs,
        *,
        batch_messages: int,
        min_free_bytes: int,
        progress: Callable[[], object] = lambda: None,
    ) -> None:
        """`progress` is called when a batch is committed or nothing waits: never while stuck."""
        self._inbox = inbox
        self._link = link
        self._metadata = metadata
        self._intake = intake
        self._blobs = blobs
        self._batch_messages = batch_messages
        self._min_free_bytes = min_free_bytes
        self._progress = progress
        self._stopping = threading.Event()
        self._room = True
        self._tidy_at_s = 0.0

    def run(self) -> None:
        """Work until `stop`; what is not committed by then is not acknowledged."""
        while not self._stopping.is_set():
            self._tidy()
            batch = self._collect()
            if batch and not self.process(batch):
                return
            self._progress()

    def stop(self) -> None:
        """End `run` after the batch in hand; from any thread."""
        self._stopping.set()

    def process(self, batch: list[Inbound]) -> bool:
        """Store, answer, acknowledge. False if told to stop before the store took it."""
        pause, races = _BACKOFF_S[0], 0
        while True:
            try:
                applied = self._commit(batch)
                break
            except IntegrityError:
                # Another worker wrote the same row first; the next look will find it.
                races += 1
                if races >= _RACES:
                    return self._one_by_one(batch)
            except (OperationalError, InterfaceError, OSError) as error:
                _log.error("the store does not take messages; trying again", exc_info=error)
                if self._stopping.wait(pause):
                    return False
                pause = min(pause * 2, _BACKOFF_S[1])
            except SQLAlchemyError:
                return self._one_by_one(batch)
        self._answer(batch, applied)
        return True

    def _one_by_one(self, batch: list[Inbound]) -> bool:
        """Some message has a value that the database refuses: set that one aside."""
        if len(batch) > 1:
            return all(self.process([message]) for message in batch)
        message = batch[0]
        try:
            applied = self._commit(batch)
        except (OperationalError, InterfaceError, OSError):
            return self.process(batch)
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error)
            _log.error("the database refuses a message", extra={"topic": message.topic})
            with self._metadata.writing() as connection:
                self._intake.set_aside(
                    connection, message.topic, message.payload, cause, _now_ms(), message.cut_from
                )
            applied = []
        self._answer(batch, applied)
        return True

    def _commit(self, batch: list[Inbound]) -> list[Applied]:
        room = self._has_room()
        now_ms = _now_ms()
        try:
            with self._metadata.writing() as connection:
                applied = [
                    self._intake.apply(
                        connection,
                        each.topic,
                        each.payload,
                        now_ms,
                        room=room,
                        cut_from=each.cut_from,
                    )
                    for each in batch
                ]
                self._intake.finish(connection, applied, now_ms)
                # Blobs are durable before the rows that speak of them; one without a row is
                # harmless.
                self._blobs.flush()
        finally:
            self._blobs.discard()  # nothing is left to discard but on a way out by an error
        return applied

    def _answer(self, batch: list[Inbound], applied: list[Applied]) -> None:
        replies = (
            (each.device, reply)
            for each in applied
            if each.device is not None
            for reply in each.replies
        )
        for topic, payload in answers(replies):
            if not self._link.publish(topic, payload):
                _log.warning("an answer is lost; the device will ask again", extra={"topic": topic})
        for message in batch:
            self._link.acknowledge(message)

    def _tidy(self) -> None:
        """Every hour, give up what was asked for too long ago."""
        now_s = time.monotonic()
        if now_s < self._tidy_at_s:
            return
        try:
            with self._metadata.writing() as connection:
                count = self._intake.forget(connection, _now_ms())
        except (OperationalError, InterfaceError) as error:
            _log.warning("cannot tidy the store up; trying again later", exc_info=error)
            count = 0
        if count:
            _log.info("gave up samples that never came", extra={"count": count})
        if count < FORGET_AT_ONCE:
            self._tidy_at_s = now_s + _TIDY_S

    def _collect(self) -> list[Inbound]:
        """What waits, up to one batch; waits a moment for the first."""
        try:
            batch = [self._inbox.get(timeout=_IDLE_S)]
        except queue.Empty:
            return []
        size = len(batch[0].payload)
        while len(batch) < self._batch_messages and size < _BATCH_BYTES:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                break
            batch.append(message)
            size += len(message.payload)
        return batch

    def _has_room(self) -> bool:
        disks = (self._blobs.free_bytes(), self._metadata.free_bytes())
        room = all(free is None or free >= self._min_free_bytes for free in disks)
        if room != self._room:
            self._room = room
            if room:
                _log.info("there is room again")
            else:
                _log.error("too little room on disk; devices are told to wait")
        return room


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
