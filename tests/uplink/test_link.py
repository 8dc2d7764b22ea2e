"""One connection, against brokers on loopback that misbehave byte by byte."""

from __future__ import annotations

import gc
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from edge_agent.uplink.link import Arrived, Link, LinkError
from operations.broker import BrokerSettings
from sync_protocol import topics
from sync_protocol.codec import MAX_BYTES
from sync_protocol.messages import Presence, Receipt, Want
from sync_protocol.topics import Kind

DEVICE = "drone-7"
CONNACK = bytes.fromhex("20020000")
REFUSED = bytes.fromhex("20020005")  # not authorised
SUBACK = bytes.fromhex("900400010101")  # for message 1, both topics at QoS 1

Script = Callable[[socket.socket], None]


def remaining_length(size: int) -> bytes:
    """MQTT 3.1.1, section 2.2.3: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while True:
        size, digit = divmod(size, 128)
        encoded.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(encoded)


def publish_head(topic: str, size: int, *, retain: bool = False) -> bytes:
    """A PUBLISH at QoS 1 up to where its payload of `size` bytes begins."""
    name = topic.encode()
    rest = struct.pack("!H", len(name)) + name + struct.pack("!H", 7)
    return bytes([0x32 | retain]) + remaining_length(len(rest) + size) + rest


def welcome(peer: socket.socket) -> None:
    peer.recv(4096)
    peer.sendall(CONNACK)
    peer.recv(4096)
    peer.sendall(SUBACK)


class Hostile:
    """A server that plays one script on each connection."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def settings(self) -> BrokerSettings:
        return BrokerSettings(port=self.listener.getsockname()[1])

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                try:
                    self.script(peer)
                except ConnectionError:
                    continue


@pytest.fixture
def hostile() -> Iterator[Callable[[Script], Hostile]]:
    started: list[Hostile] = []

    def start(script: Script) -> Hostile:
        started.append(Hostile(script))
        return started[-1]

    yield start
    for server in started:
        server.close()


def make_link(settings: BrokerSettings) -> Link:
    presence = Presence(online=True, birth=1, agent_version="1.0.0")
    return Link(settings, DEVICE, presence, ack_limit=16)


def hear(link: Link, heard: list[Arrived], count: int) -> list[Arrived]:
    """Adds to `heard` what arrives, until there are so many, or the link breaks."""
    for _ in range(600):
        heard += [item for item in link.turn(0.1) if isinstance(item, Arrived)]
        if len(heard) >= count:
            return heard
    raise AssertionError("it did not come to that")


@pytest.mark.parametrize("kind", [Kind.WANT, Kind.RECEIPT])
def test_a_giant_message_is_refused_by_its_announced_length(
    hostile: Callable[[Script], Hostile], kind: Kind
) -> None:
    """Of 250 MB the link takes no more than the kernel had buffered, and says what it was."""
    taken = []

    def script(peer: socket.socket) -> None:
        welcome(peer)
        peer.sendall(publish_head(topics.build(DEVICE, kind), 250_000_000))
        piece = bytes(1_000_000)
        try:
            for _ in range(250):
                peer.sendall(piece)
                taken.append(len(piece))
        finally:
            done.set()

    done = threading.Event()
    link = make_link(hostile(script).settings)
    assert link.open(threading.Event())
    with pytest.raises(LinkError, match=r"a message of 2500000\d\d bytes came"):
        hear(link, [], 1)
    link.close()
    assert done.wait(30)
    assert sum(taken) < 30_000_000


def test_the_largest_legal_message_comes_through(hostile: Callable[[Script], Hostile]) -> None:
    """A want as large as the contract allows arrives whole; one byte more ends the link."""
    largest = max(MAX_BYTES[Want], MAX_BYTES[Receipt])
    topic = topics.build(DEVICE, Kind.WANT)

    def script(peer: socket.socket) -> None:
        welcome(peer)
        peer.sendall(publish_head(topic, largest) + bytes(largest))
        peer.sendall(publish_head(topic, largest + 1) + bytes(largest + 1))
        while peer.recv(4096):
            pass

    link = make_link(hostile(script).settings)
    assert link.open(threading.Event())
    heard: list[Arrived] = []
    with pytest.raises(LinkError, match="bytes came"):
        hear(link, heard, 2)
    link.close()
    assert heard == [Arrived(Kind.WANT, bytes(largest))]


def test_a_retained_answer_is_ignored_and_counted(hostile: Callable[[Script], Hostile]) -> None:
    """What the broker kept from an earlier time must settle nothing; what is new comes through."""
    topic = topics.build(DEVICE, Kind.RECEIPT)

    def script(peer: socket.socket) -> None:
        welcome(peer)
        peer.sendall(publish_head(topic, 3, retain=True) + b"old")
        peer.sendall(publish_head(topic, 3) + b"new")
        while peer.recv(4096):
            pass

    link = make_link(hostile(script).settings)
    assert link.open(threading.Event())
    heard = hear(link, [], 1)
    link.close()
    assert heard == [Arrived(Kind.RECEIPT, b"new")]
    assert link.dropped == 1


def test_a_stop_ends_the_handshake(hostile: Callable[[Script], Hostile]) -> None:
    """A broker that takes the connection and stays silent does not hold up a stop."""
    stop = threading.Event()

    def script(peer: socket.socket) -> None:
        while peer.recv(4096):
            stop.set()

    link = make_link(hostile(script).settings)
    assert link.open(stop) is False


def test_failed_connections_leave_no_socket_open(hostile: Callable[[Script], Hostile]) -> None:
    """Refused over and over, the daemon holds no more descriptors than before."""

    def script(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(REFUSED)
        peer.recv(4096)

    settings = hostile(script).settings
    links = []
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (links that vanish while listed)
    for _ in range(20):
        links.append(make_link(settings))
        with pytest.raises(LinkError, match="refuses"):
            links[-1].open(threading.Event())
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208
