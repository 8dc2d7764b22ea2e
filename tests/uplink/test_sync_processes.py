"""`edge-agent sync` as a process, against a real broker and a small base over MQTT."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.domain import Frame, Judged, Reason, Tile, Verdict
from edge_agent.records import outbox
from edge_agent.records.batch import commit_batch
from edge_agent.records.database import open_database
from edge_agent.records.ledger import begin_frame, open_survey
from edge_agent.records.values import Caps, FrameKey, FrameProgress
from sync_protocol import codec, topics
from sync_protocol import messages as m

DEVICE = "drone-7"
PATIENCE_S = 60.0

EMBEDDED = """
import asyncio, logging, sys
from amqtt.broker import Broker
logging.disable(logging.CRITICAL)
async def main():
    broker = Broker({
        "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1]}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    })
    await broker.start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Broker:
    """A broker process on one loopback port, to be killed and started again."""

    def __init__(self, kind: str, port: int, folder: Path, more: str = "") -> None:
        self.port = port
        self.command = [sys.executable, "-c", EMBEDDED, str(self.port)]
        if kind == "mosquitto":
            config = folder / "mosquitto.conf"
            config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{more}")
            self.command = [str(shutil.which("mosquitto")), "-c", str(config)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: accepts(self.port))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def broker(request: pytest.FixtureRequest, free_port: int, tmp_path: Path) -> Iterator[Broker]:
    """Not yet started."""
    if request.param == "mosquitto" and shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not on the PATH")
    broker = Broker(request.param, free_port, tmp_path)
    yield broker
    broker.kill()


class Base:
    """The small base behind a connection of its own, which it makes again when it is lost."""

    def __init__(self, base: Any, port: int) -> None:
        self.base = base
        self.slow_s = 0.0
        self.answering = True
        self.presences: list[m.Presence] = []
        self.statuses: list[m.Status] = []
        self.offsets: list[int] = []
        self.subscribed = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="base")
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_disconnect = lambda *_: self.subscribed.clear()
        self.client.on_message = self._on_message
        self.client.connect_async("127.0.0.1", port, 30)
        self.client.loop_start()

    def say(self, kind: topics.Kind, data: bytes) -> None:
        self.client.publish(topics.build(DEVICE, kind), data, qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(topics.every_device(kind), 1) for kind in topics.FROM_DEVICE])

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        topic = topics.parse(message.topic)
        assert topic is not None
        replies: list[m.Want | m.Receipt] = []
        match topic.kind:
            case topics.Kind.PRESENCE:
                self.presences.append(codec.decode(message.payload, m.Presence))
            case topics.Kind.STATUS:
                self.statuses.append(codec.decode(message.payload, m.Status))
            case topics.Kind.OFFER if self.answering:
                replies = self.base.offer(codec.decode(message.payload, m.Offer))
            case topics.Kind.CHUNK if self.answering:
                time.sleep(self.slow_s)
                chunk = codec.decode(message.payload, m.Chunk)
                self.offsets.append(chunk.offset)
                replies = self.base.chunk(chunk)
        for reply in replies:
            wanted = isinstance(reply, m.Want)
            self.say(topics.Kind.WANT if wanted else topics.Kind.RECEIPT, codec.encode(reply))


@pytest.fixture
def base(broker: Broker, fake_base: type) -> Iterator[Base]:
    base = Base(fake_base(), broker.port)
    yield base
    base.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "edge.db"


def fill(path: Path, payloads: list[bytes]) -> dict[str, bytes]:
    """Queue the payloads as the filter does; sample id -> payload."""
    with open_database(path) as database:
        survey = open_survey(
            database,
            "north field",
            "scenes-aerial@1.0.0",
            bytes(32),
            "0123abcd",
            policy_settings="{}",
            labels=("forest", "river"),
            boot=1,
            now=0.0,
        )
        frame = Frame("DJI_0001.JPG", 4000, 3000, 0.02, None, None, "unknown", None)
        key = FrameKey(frame.name, 1000, 1)
        row = begin_frame(database, survey.survey_id, key, frame, len(payloads), 0.0)
        judged = [(row.frame_id, frame, _judged(n, data)) for n, data in enumerate(payloads)]
        done = [FrameProgress(row.frame_id, len(payloads), True)]
        commit_batch(database, survey, judged, done, Caps(2**30), 0.0)
        samples = outbox.next_samples(database, 10_000)
        assert len(samples) == len(payloads)
        return {
            sample.sample_id: outbox.payload(database, sample.sample_id) or b""
            for sample in samples
        }


def _judged(number: int, payload: bytes) -> Judged:
    tile = Tile(0, 64 * number, 64, 64, np.zeros((64, 64, 3), np.uint8), 0.02, 0.0, None)
    return Judged(
        tile=tile,
        prediction=None,
        findings=(),
        quality=3.0,
        content_sha256=number.to_bytes(32, "big"),
        perceptual_hash=None,
        verdict=Verdict(True, 0.5 + number / 1000, (Reason("audit"),)),
        payload=payload,
        payload_type="image/jpeg",
    )


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def sync(tmp_path: Path, free_port: int, database: Path) -> Iterator[Callable[..., Any]]:
    """Starts `edge-agent sync` with short waits; what is still running at the end is killed."""
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[uplink]\ndevice = "{DEVICE}"\noffer_timeout_s = 1.0\nbackoff_min_s = 0.2\n'
        f"backoff_max_s = 0.5\nstatus_interval_s = 1.0\nchunk_bytes = 8192\n"
        f"[broker]\nport = {free_port}\n"
    )
    running: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from edge_agent.cli import main; main()", "sync"]
        process = subprocess.Popen(
            [*command, "--config", str(config), "--database", str(database), "--json", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, errors
    report: dict[str, Any] = json.loads(out)
    return report


def waiting(path: Path) -> int:
    with open_database(path, create=False, readonly=True) as database:
        return outbox.statistics(database).waiting


def test_drains_every_byte(
    broker: Broker, base: Base, sync: Any, database: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """Payloads of all sizes arrive byte for byte, each once, and the outbox is empty."""
    broker.start()
    base.subscribed.wait(PATIENCE_S)
    sizes = [200, 900, 2048, 2049, 8192, 8193, 30_000, 70_001, 300_000] * 4
    expected = fill(database, [pixels(number, size) for number, size in enumerate(sizes)])
    report = finish(sync("--drain", "--timeout", "20"))
    assert base.base.stored == expected
    assert base.base.repeated_bytes == 0
    assert report["settled"] == {"stored": len(sizes)}
    assert report["left"] == waiting(database) == 0
    assert sum(sizes) < report["sent_bytes"] < 1.2 * sum(sizes)
    until(lambda: base.presences and not base.presences[-1].online)
    assert base.statuses[0].survey == "north field"


def test_half_sent_tile_resumes_after_the_broker_died(
    broker: Broker, base: Base, sync: Any, database: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """With the broker killed in the middle of a large tile, only what is missing is sent again."""
    broker.start()
    base.subscribed.wait(PATIENCE_S)
    base.slow_s = 0.05
    expected = fill(database, [pixels(1, 3_000_000)])
    process = sync("--drain", "--timeout", "30")
    until(lambda: base.base.chunk_bytes > 200_000)
    broker.kill()
    held = base.base.chunk_bytes
    assert held < 3_000_000
    broker.start()
    report = finish(process)
    assert base.base.stored == expected
    assert base.base.repeated_bytes == 0
    assert report["connections"] >= 2
    assert base.offsets.count(0) == 1
    assert report["quarantined"] == 0


def test_daemon_waits_for_broker_and_base_and_ends_on_sigterm(
    broker: Broker, base: Base, sync: Any, database: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """Started before broker and base are there, it sends when they are, and ends in good order."""
    expected = fill(database, [pixels(number, 5_000) for number in range(5)])
    base.answering = False
    process = sync()
    time.sleep(0.5)
    assert process.poll() is None
    broker.start()
    until(lambda: base.presences and base.presences[-1].online)
    assert waiting(database) == 5
    base.answering = True
    until(lambda: waiting(database) == 0)
    process.send_signal(signal.SIGTERM)
    report = finish(process)
    assert base.base.stored == expected
    assert report["settled"] == {"stored": 5}
    until(lambda: not base.presences[-1].online)
    assert base.presences[-1].birth == base.presences[-2].birth


def test_killed_daemon_goes_on_where_it_was(
    broker: Broker, base: Base, sync: Any, database: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """SIGKILL while sending loses nothing, and the broker publishes the will."""
    broker.start()
    base.subscribed.wait(PATIENCE_S)
    base.slow_s = 0.02
    expected = fill(database, [pixels(number, 60_000) for number in range(20)])
    for _ in range(2):
        process = sync()
        begun = base.base.chunk_bytes
        until(lambda begun=begun: base.base.chunk_bytes > begun + 100_000)
        process.kill()
        process.wait()
    until(lambda: base.presences and not base.presences[-1].online)
    finish(sync("--drain", "--timeout", "30"))
    assert base.base.stored == expected
    assert waiting(database) == 0
    births = [presence.birth for presence in base.presences if presence.online]
    assert births == sorted(set(births))


def test_drain_without_a_broker_says_what_is_left(
    broker: Broker, base: Base, sync: Any, database: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """An unreachable broker ends a drain with its own exit code; nothing is lost by it."""
    expected = fill(database, [pixels(number, 5_000) for number in range(3)])
    report = finish(sync("--drain", "--timeout", "0.5"), code=4)
    assert report["left"] == 3
    assert report["connections"] == 0
    broker.start()
    finish(sync("--drain", "--timeout", "20"))
    assert base.base.stored == expected


def test_empty_outbox_needs_no_broker(sync: Any, database: Path) -> None:
    """There is nothing to connect for."""
    with open_database(database):
        pass
    assert finish(sync("--drain"))["left"] == 0


def test_garbage_from_base_is_counted_and_ignored(
    broker: Broker, base: Base, sync: Any, database: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """Bytes that are no message stop nothing."""
    broker.start()
    base.subscribed.wait(PATIENCE_S)
    base.answering = False
    expected = fill(database, [pixels(number, 5_000) for number in range(3)])
    process = sync("--drain", "--timeout", "20")
    until(lambda: base.presences and base.presences[-1].online)
    base.say(topics.Kind.WANT, b"\xc1")
    base.say(topics.Kind.RECEIPT, b"\xdd\xff\xff\xff\xff")
    base.answering = True
    report = finish(process)
    assert report["ignored"] == 2
    assert base.base.stored == expected


def test_locked_database_is_waited_for(
    broker: Broker, base: Base, sync: Any, database: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """While another process holds the write lock the daemon waits, and then goes on."""
    broker.start()
    base.subscribed.wait(PATIENCE_S)
    expected = fill(database, [pixels(number, 5_000) for number in range(10)])
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    process = sync("--drain", "--timeout", "20")
    time.sleep(1.5)
    assert process.poll() is None
    other.execute("ROLLBACK")
    other.close()
    finish(process)
    assert base.base.stored == expected


def test_second_sync_is_refused(
    broker: Broker, base: Base, sync: Any, database: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """Two daemons on one outbox would throw each other off the broker: the second says so."""
    broker.start()
    fill(database, [pixels(1, 100)])
    base.answering = False
    first = sync()
    until(lambda: base.presences)
    second = sync()
    _, errors = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 3
    assert "another sync is at work" in errors
    assert first.poll() is None


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (("--broker", "localhost"), "HOST:PORT"),
        (("--broker", "host:99999"), "HOST:PORT"),
        (("--device", "two words"), "--device"),
    ],
)
def test_wrong_flags_are_explained(sync: Any, flags: tuple[str, ...], hint: str) -> None:
    """An address or device id that cannot be right ends with exit code 2 and a hint."""
    process = sync(*flags)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert hint in errors


def make_certificates(folder: Path) -> None:
    """A certificate authority, and one certificate each for the broker and the device."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    # Key identifiers and the authority's key usage: Python 3.13 accepts no chain without them.
    authority = ("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", "/CN=ca")
    openssl(*new, "-x509", "-days", "2", *authority, "-keyout", "ca.key", "-out", "ca.pem")
    for name, host in (("broker", "IP:127.0.0.1"), (DEVICE, f"DNS:{DEVICE}")):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "extensions").write_text(
            f"subjectAltName={host}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", f"{name}.pem"),
        )


@pytest.mark.mosquitto
def test_certificates_are_used_both_ways(
    sync: Any, database: Path, free_port: int, tmp_path: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """By its certificate alone is the device let in; a broker nobody vouches for is refused."""
    if shutil.which("mosquitto") is None or shutil.which("openssl") is None:
        pytest.skip("mosquitto and openssl are not both on the PATH")
    make_certificates(tmp_path)
    (tmp_path / "acl").write_text(f"user {DEVICE}\ntopic readwrite tilesift/1/{DEVICE}/#\n")
    broker = Broker(
        "mosquitto",
        free_port,
        tmp_path,
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/broker.pem\nkeyfile {tmp_path}/broker.key\n"
        f"require_certificate true\nuse_identity_as_username true\nacl_file {tmp_path}/acl\n"
        "user root\n",
    )
    fill(database, [pixels(1, 100)])
    config = tmp_path / "edge.toml"
    plain = config.read_text()
    pair = f'certificate = "{tmp_path}/{DEVICE}.pem"\nkey = "{tmp_path}/{DEVICE}.key"\n'
    try:
        broker.start()
        config.write_text(f'{plain}[broker.tls]\nca = "{tmp_path}/ca.pem"\n{pair}')
        assert finish(sync("--drain", "--timeout", "2"), code=4)["connections"] > 0
        config.write_text(f'{plain}[broker.tls]\nca = "{tmp_path}/ca.pem"\n')
        assert finish(sync("--drain", "--timeout", "2"), code=4)["connections"] == 0
        config.write_text(f"{plain}[broker.tls]\n{pair}")
        assert finish(sync("--drain", "--timeout", "2"), code=4)["connections"] == 0
    finally:
        broker.kill()


@pytest.fixture
def notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What was told to a service manager so far, in order; processes inherit its address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "120000000")

        def told() -> list[str]:
            lines: list[str] = []
            while True:
                try:
                    lines += manager.recv(4096).decode().splitlines()
                except BlockingIOError:
                    return lines

        yield told


def test_ready_is_said_when_the_outbox_is_open(
    sync: Any, database: Path, notices: Callable[[], list[str]]
) -> None:
    """Checking a large file must not be killed: more time is asked for, and READY comes after."""
    with open_database(database):
        pass
    finish(sync("--drain"))
    names = [line.partition("=")[0] for line in notices()]
    assert names.index("EXTEND_TIMEOUT_USEC") < names.index("READY") < names.index("STOPPING")


def test_an_outbox_that_cannot_be_opened_is_never_ready(
    sync: Any, database: Path, notices: Callable[[], list[str]]
) -> None:
    """A service that could not begin does not say that it has."""
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE something_else (x)")
    other.close()
    process = sync()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert not [line for line in notices() if line.startswith("READY")]


def test_what_base_refuses_is_set_aside(
    broker: Broker, base: Base, sync: Any, database: Path, pixels: Callable[[int, int], bytes]
) -> None:
    """A rejected sample stays on the device, in quarantine, and the report says so."""
    broker.start()
    base.subscribed.wait(PATIENCE_S)
    [sample_id] = fill(database, [pixels(1, 5_000)])
    base.answering = False
    process = sync("--drain", "--timeout", "20")
    until(lambda: base.presences and base.presences[-1].online)
    refused = m.Settlement(sample_id=sample_id, outcome="rejected", detail="no picture")
    base.say(topics.Kind.RECEIPT, codec.encode(m.Receipt(settlements=(refused,))))
    report = finish(process)
    assert (report["quarantined"], report["settled"], report["left"]) == (1, {}, 0)
    with open_database(database, readonly=True) as opened:
        assert outbox.sample_ids(opened, quarantined=True) == [sample_id]
