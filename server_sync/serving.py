"""`server-sync serve`: store, broker link, ingest worker and review pages in one process."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from operations import sd_notify
from operations.errors import OperatorError, Problem
from server_sync.embedded_broker import EmbeddedBroker
from server_sync.intake.apply import Intake
from server_sync.intake.inbox import Inbox
from server_sync.intake.ingest import Worker
from server_sync.intake.link import Link
from server_sync.settings import ServerSettings
from server_sync.store.blobs import BlobFolder
from server_sync.store.metadata import Metadata, open_metadata

_log = logging.getLogger(__name__)

_JOIN_S = 10.0
_SUBSCRIBE_S = 5.0
_WATCH_S = 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Parts:
    """The threads that a base consists of: half a service is worse than a restart."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        """Set by a signal, and by a thread of the intake when it ends."""
        self.asked = False
        """Whether a signal asked for the end."""
        self._alive: dict[str, Callable[[], bool]] = {}
        self._progress = sd_notify.Progress()

    def add(self, name: str, alive: Callable[[], bool]) -> None:
        """Watch a part from now on."""
        self._alive[name] = alive

    def dead(self) -> list[str]:
        """The parts that have ended."""
        return [name for name, alive in self._alive.items() if not alive()]

    def made_progress(self) -> None:
        """Feed the watchdog, unless a part is dead."""
        if not self.dead():
            self._progress.made()

    def watch(self) -> None:
        """Wait for the end.

        Raises:
            OperatorError: a part ended without being asked to.
        """
        while not self.ended.wait(_WATCH_S):
            if self.dead():
                break
        if not self.asked:
            names = ", ".join(self.dead()) or "the intake"
            raise OperatorError(
                f"a part of the base has ended by itself: {names}",
                [Problem("the others do not go on without it", "see the log above; start again")],
            )


def serve(
    settings: ServerSettings,
    *,
    embedded: Address | None = None,
    ready_file: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        embedded: run a broker there, instead of using the one of the settings.
        ready_file: written once all is up: JSON with the addresses in use.

    Raises:
        OperatorError: the store, the broker's certificates or an address cannot be used, or a
            part of the base ended by itself.
    """
    running = Parts()
    with _signals(running), ExitStack() as stack:
        metadata = open_metadata(settings.store.url)
        stack.callback(metadata.close)
        blobs = _open_blobs(settings)
        if embedded is not None:
            broker = EmbeddedBroker(embedded.host, embedded.port)
            broker.start()
            stack.callback(broker.stop)
            running.add("the embedded broker", lambda: broker.alive)
            settings = _at(settings, Address(broker.host, broker.port))
        page = None
        if settings.web.enabled:
            page = stack.enter_context(_pages(settings, metadata, blobs, running))
        link = stack.enter_context(_intake(settings, metadata, blobs, running))
        _await_devices(link, running.ended)
        if not running.ended.is_set():
            _tell_ready(settings, page, ready_file, subscribed=link.subscribed.is_set())
        running.watch()
        sd_notify.stopping()
        _log.info("stopping")


def _await_devices(link: Link, ended: threading.Event) -> None:
    """Give the broker a moment; a base whose broker is away is ready all the same."""
    deadline = time.monotonic() + _SUBSCRIBE_S
    while not ended.is_set() and time.monotonic() < deadline:
        if link.subscribed.wait(0.05):
            return


@contextmanager
def _signals(running: Parts) -> Iterator[None]:
    def end(*_: object) -> None:
        running.asked = True
        running.ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open_blobs(settings: ServerSettings) -> BlobFolder:
    try:
        blobs = BlobFolder(Path(settings.store.blobs))
        removed = blobs.sweep(time.time())
    except OSError as error:
        raise OperatorError(
            f"cannot use the blob folder {settings.store.blobs}",
            [Problem(str(error), "check store.blobs (or --data) and its permissions")],
        ) from error
    if removed:
        _log.info("removed half-written blobs", extra={"count": removed})
    return blobs


def _at(settings: ServerSettings, broker: Address) -> ServerSettings:
    there = msgspec.structs.replace(
        settings.broker, host=broker.host, port=broker.port, tls=None, username=None
    )
    return msgspec.structs.replace(settings, broker=there)


@contextmanager
def _intake(
    settings: ServerSettings, metadata: Metadata, blobs: BlobFolder, running: Parts
) -> Iterator[Link]:
    inbox = Inbox(settings.intake.queue_messages, settings.intake.queue_mb * 1_000_000)
    link = Link(settings.broker, settings.intake, inbox)
    worker = Worker(
        inbox,
        link,
        metadata,
        Intake(settings.intake, blobs),
        blobs,
        batch_messages=settings.intake.batch_messages,
        min_free_bytes=settings.store.min_free_mb * 1_000_000,
        progress=running.made_progress,
    )
    with ThreadPoolExecutor(2, thread_name_prefix="intake") as threads:
        works = [threads.submit(link.run), threads.submit(worker.run)]
        for work in works:
            work.add_done_callback(lambda _: running.ended.set())
        try:
            yield link
        finally:
            worker.stop()
            wait(works[1:], timeout=_JOIN_S)
            link.stop()
            wait(works, timeout=_JOIN_S)
            for work in works:
                if work.done():
                    work.result()  # what ended it says more than that it has ended


@contextmanager
def _pages(
    settings: ServerSettings, metadata: Metadata, blobs: BlobFolder, running: Parts
) -> Iterator[Address]:
    from server_sync.web.app import LOOPBACK
    from server_sync.web.serving import WebServer

    if settings.web.host not in LOOPBACK:
        _log.warning("the review pages ask for no password and listen on %s", settings.web.host)
    server = WebServer(_listen(settings.web.host, settings.web.port), metadata, blobs, settings.web)
    server.start()
    running.add("the review pages", lambda: server.alive)
    try:
        yield Address(settings.web.host, server.port)
    finally:
        server.stop(_JOIN_S)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OperatorError(
            f"the review pages cannot listen on {Address(host, port)}",
            [Problem(str(error), "give another address by --web, or --no-web")],
        ) from error


def _tell_ready(
    settings: ServerSettings, page: Address | None, file: Path | None, *, subscribed: bool
) -> None:
    broker = str(Address(settings.broker.host, settings.broker.port))
    web = None if page is None else f"http://{page}/"
    _log.info(
        "ready" if subscribed else "ready; still waiting for the broker",
        extra={"broker": broker, "web": web or "off", "store": settings.store.url.split("@")[-1]},
    )
    if file is not None:
        content = {"broker": broker, "web": web, "pid": os.getpid()}
        temporary = file.with_name(file.name + ".part")
        try:
            temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
            temporary.replace(file)
        except OSError as error:
            raise OperatorError(
                f"cannot write {file}", [Problem(str(error), "check --ready-file")]
            ) from error
    sd_notify.ready(f"broker {broker}, review pages {web or 'off'}")
