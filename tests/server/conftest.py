"""A small working device, pictures, and servers as real processes, for the tests of the base."""

from __future__ import annotations

import hashlib
import io
import json
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from PIL import Image

from server_sync.intake.apply import Intake
from server_sync.settings import IntakeSettings
from server_sync.store.blobs import BlobFolder
from server_sync.store.metadata import open_metadata
from sync_protocol import codec, topics
from sync_protocol import messages as m


def picture(seed: int, size: int = 24, kind: str = "PNG") -> bytes:
    """A small picture, different for each seed."""
    pixels = random.Random(seed).randbytes(size * size * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (size, size), pixels).save(out, kind)
    return out.getvalue()


def describe(pixels: bytes, sample_id: str | None = None, **changes: Any) -> m.SampleDescription:
    """A description of `pixels`, with anything changed."""
    fields: dict[str, Any] = {
        "sample_id": sample_id or uuid.uuid4().hex,
        "boot": 1,
        "sequence": 1,
        "survey": "survey-a",
        "frame": "DJI_0001.JPG",
        "row": 0,
        "column": 0,
        "width": 24,
        "height": 24,
        "bundle": "scenes@1",
        "bundle_sha256": b"\1" * 32,
        "policy": "default",
        "probabilities": {"forest": 0.6, "river": 0.3, "beach": 0.1},
        "scores": {"entropy": 0.9},
        "p_values": {"entropy": 0.01},
        "reasons": (m.Reason(code="score:entropy", numbers={"p": 0.01}),),
        "value": 0.5,
        "payload_sha256": hashlib.sha256(pixels).digest(),
        "payload_size": len(pixels),
        "payload_type": "image/png",
    }
    return m.SampleDescription(**(fields | changes))


def chunks(
    sample: m.SampleDescription, payload: bytes, ranges: list[tuple[int, int]], step: int
) -> list[m.Chunk]:
    """The chunks that answer a want."""
    return [
        m.Chunk(
            sample_id=sample.sample_id,
            payload_sha256=sample.payload_sha256,
            payload_size=sample.payload_size,
            offset=start,
            crc32=zlib.crc32(payload[start : min(start + step, end)]),
            data=payload[start : min(start + step, end)],
        )
        for offset, end in ranges
        for start in range(offset, end, step)
    ]


@dataclass
class Device:
    """Offers what is not settled, sends what is wanted, deletes on receipts alone."""

    name: str
    outbox: dict[str, tuple[m.SampleDescription, bytes]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    step: int = 8192
    sent_bytes: int = 0
    _client: mqtt.Client | None = None
    _inbox: queue.Queue[tuple[str, bytes]] = field(default_factory=queue.Queue)

    def add(self, sample: m.SampleDescription, payload: bytes) -> None:
        self.outbox[sample.sample_id] = (sample, payload)

    def connect(self, address: str) -> None:
        """Connect clean, as a device does; waits until subscribed."""
        host, port = address.rsplit(":", 1)
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self.name, reconnect_on_failure=False
        )
        ready: queue.Queue[bool] = queue.Queue()
        client.on_message = lambda _c, _u, msg: self._inbox.put((msg.topic, msg.payload))
        client.on_subscribe = lambda *_: ready.put(True)
        client.on_connect = lambda c, *_: c.subscribe(
            [(topics.build(self.name, kind), 1) for kind in topics.TO_DEVICE]
        )
        client.connect(host, int(port), 30)
        client.loop_start()
        ready.get(timeout=10)
        self._client = client

    def disconnect(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def publish(self, kind: topics.Kind, payload: bytes, *, qos: int = 1) -> None:
        assert self._client is not None
        self._client.publish(topics.build(self.name, kind), payload, qos=qos)

    def offer(self) -> None:
        waiting = [sample for sample, _ in self.outbox.values()]
        for start in range(0, len(waiting), 8):
            message = m.Offer(samples=tuple(waiting[start : start + 8]))
            self.publish(topics.Kind.OFFER, codec.encode(message))

    def step_once(self, timeout_s: float, chunk_limit: int | None = None) -> bool:
        """Handle one answer; False when none came in time."""
        try:
            topic, payload = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return False
        parsed = topics.parse(topic)
        assert parsed is not None
        if parsed.kind is topics.Kind.RECEIPT:
            for settlement in codec.decode(payload, m.Receipt).settlements:
                self.outcomes[settlement.sample_id] = settlement.outcome
                self.details[settlement.sample_id] = settlement.detail
                self.outbox.pop(settlement.sample_id, None)
            return True
        for answer in codec.decode(payload, m.Want).answers:
            entry = self.outbox.get(answer.sample_id)
            if entry is None or answer.ask != "want":
                continue
            ranges = [(part.offset, part.end) for part in answer.missing]
            pieces = chunks(*entry, ranges, self.step)
            for piece in pieces if chunk_limit is None else pieces[:chunk_limit]:
                self.sent_bytes += len(piece.data)
                self.publish(topics.Kind.CHUNK, codec.encode(piece))
        return True

    def drain(self, timeout_s: float = 30.0) -> None:
        """Offer and answer until nothing waits."""
        deadline = time.monotonic() + timeout_s
        while self.outbox:
            assert time.monotonic() < deadline, f"not settled: {list(self.outbox)[:3]}"
            self.offer()
            while self.outbox and self.step_once(1.0):
                pass


@dataclass
class Server:
    """`server-sync serve` as a process of its own."""

    folder: Path
    arguments: tuple[str, ...]
    process: subprocess.Popen[str]
    broker: str
    web: str | None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


StartServer = Callable[..., Server]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts servers; each is killed at the end if the test did not end it."""
    started: list[Server] = []

    def start(folder: Path, *arguments: str) -> Server:
        folder.mkdir(parents=True, exist_ok=True)
        ready = folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "server_sync", "serve", "--data", str(folder)]
        with (folder / "log.txt").open("a") as log:
            process = subprocess.Popen(
                [*command, "--ready-file", str(ready), *arguments], stderr=log, text=True
            )
        server = Server(folder, arguments, process, "", None)
        started.append(server)
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert process.poll() is None, (folder / "log.txt").read_text()
            assert time.monotonic() < deadline, (folder / "log.txt").read_text()
            time.sleep(0.02)
        content = json.loads(ready.read_text())
        server.broker, server.web = content["broker"], content["web"]
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[str]:
    """Address of a mosquitto of this test's own."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [program, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session", name="picture")
def picture_fixture() -> Callable[..., bytes]:
    """`picture`, for test modules."""
    return picture


@pytest.fixture(scope="session", name="describe")
def describe_fixture() -> Callable[..., m.SampleDescription]:
    """`describe`, for test modules."""
    return describe


@pytest.fixture(scope="session", name="chunks")
def chunks_fixture() -> Callable[..., list[m.Chunk]]:
    """`chunks`, for test modules."""
    return chunks


@pytest.fixture
def new_device() -> Iterator[Callable[[str], Device]]:
    """Makes devices; each is disconnected at the end."""
    made: list[Device] = []

    def make(name: str) -> Device:
        device = Device(name)
        made.append(device)
        return device

    yield make
    for device in made:
        device.disconnect()


class Shelf:
    """A small store on disk, filled through the intake as devices fill it."""

    def __init__(self, folder):
        self.folder = folder
        self.metadata = open_metadata(f"sqlite:///{folder}/curation.db")
        self.blobs = BlobFolder(folder / "blobs")
        self.intake = Intake(IntakeSettings(near_duplicate_bits=-1), self.blobs)

    def offer(self, device, *offered):
        with self.metadata.writing() as connection:
            for each in offered:
                message = codec.encode(m.Offer(samples=(each,)))
                topic = topics.build(device, topics.Kind.OFFER)
                self.intake.apply(connection, topic, message, 1_700_000_000_000, room=True)
            self.blobs.flush()

    def send(self, device, kind, message):
        with self.metadata.writing() as connection:
            self.intake.apply(
                connection, topics.build(device, kind), codec.encode(message), 1000, room=True
            )
            self.blobs.flush()


@pytest.fixture
def new_shelf() -> Iterator[Callable[[Path], Shelf]]:
    """Makes empty stores; each is closed at the end."""
    made: list[Shelf] = []

    def make(folder: Path) -> Shelf:
        made.append(Shelf(folder))
        return made[-1]

    yield make
    for shelf in made:
        shelf.metadata.close()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, picture, describe):
    """12 stored samples of two devices, one duplicate, one wanted; some without a place."""
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    labels = ("forest", "river", "beach")
    for number in range(12):
        payload = picture(number, size=32)
        label = labels[number % 3]
        strange = number % 2 == 0
        place = m.Place(
            longitude=8.0 + 0.001 * number, latitude=46.0 + 0.0005 * (number % 4), sigma_m=2.5
        )
        sample = describe(
            payload,
            sample_id=uuid.UUID(int=(number + 1) << 100).hex,
            payload=payload,
            sequence=20 - number,
            survey="survey-a" if number < 8 else "survey <b> & c",
            probabilities={label: 0.5 + 0.02 * number, "other": 0.2},
            place=None if number == 11 else place,
            value=number / 20,
            reasons=(
                m.Reason(code="score:entropy", numbers={"p_value": 0.009, "quantile": 0.98})
                if strange
                else m.Reason(code="audit", numbers={"share": 0.02}),
            ),
            scores={"entropy": 1.92, "max_logit": -4.0},
            p_values={"entropy": 0.009, "max_logit": 0.4},
            findings=(m.Finding(rule="flicker", state="flag", evidence={"excess": 0.25}),),
            inclusion_probability=None if strange else 0.02,
        )
        shelf.offer("drone-1" if number < 6 else "drone-2", sample)
    twin = picture(0, size=32)
    shelf.offer("drone-2", describe(twin, sample_id="e" * 32, value=0.9))
    shelf.offer("drone-2", describe(picture(99), sample_id="d" * 32, value=0.95))
    yield shelf
    shelf.metadata.close()
