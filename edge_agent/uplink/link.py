"""One connection to the broker: a thin shell over paho, driven by its owner's loop.

Without a thread of its own: `turn` does the network's work, and its callbacks only put into a
bounded queue. A connection that broke is thrown away; the next one is a new `Link`, so that
paho never replays what it remembers of an older one. How much may be on its way at once is the
exchange's to decide (`flight`).
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from operations.broker import BrokerSettings, new_client
from sync_protocol import topics
from sync_protocol.codec import MAX_BYTES, encode
from sync_protocol.messages import Presence, Receipt, Want
from sync_protocol.topics import Kind

_log = logging.getLogger(__name__)

SEND_BUFFER_BYTES: Final = 32 * 1024
"""Small, so that the kernel does not queue seconds of chunks ahead of an urgent message."""
QUEUE_LIMIT: Final = 64
_FIXED_FIELDS: Final = 4  # of a PUBLISH, after its header: the topic's length and the message id
_HANDSHAKE_S: Final = 20.0
_FAREWELL_S: Final = 2.0


class LinkError(Exception):
    """The connection cannot be made, or is lost."""


class _TooLargeError(OSError):
    """A packet beyond all that base may send; an OSError is what paho takes for a lost link."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker has the message that `publish` gave this number."""

    message_id: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message from base."""

    kind: Kind
    data: bytes


Heard: TypeAlias = Acknowledged | Arrived


class Link:
    """A connection from `open` to `close`. Not for use from several threads."""

    def __init__(
        self, settings: BrokerSettings, device: str, presence: Presence, *, ack_limit: int
    ) -> None:
        """`presence` is published retained, and its opposite left as the will.

        `ack_limit`: the most publishes that will be unacknowledged at once.

        Raises:
            OperatorError: a certificate, key or password file cannot be used.
        """
        self._settings = settings
        self._device = device
        self._presence = presence
        self._queue: deque[Heard] = deque()
        self._subscribed = False
        self._failure: str | None = None
        self._largest = _FIXED_FIELDS + max(
            len(self._topic(kind)) + MAX_BYTES[message]
            for kind, message in ((Kind.WANT, Want), (Kind.RECEIPT, Receipt))
        )
        self.dropped = 0
        """Messages not taken: stale ones that the broker had kept, and more than the queue holds.
        Base will be asked again."""
        client = new_client(settings, device, clean_session=True)
        # Two more than the exchange's own limit: presence at either end of the connection.
        client.max_inflight_messages_set(ack_limit + 2)
        client.will_set(self._topic(Kind.PRESENCE), self._presence_data(online=False), 1, True)
        client.on_connect = self._on_connect
        client.on_connect_fail = None
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_socket_open = self._on_socket_open
        # paho gathers a packet of up to 256 MiB before it hands it over, and has no limit to set.
        self._receive = client._sock_recv
        client._sock_recv = self._receive_checked  # type: ignore[method-assign]
        self._client = client

    def open(self, stop: threading.Event) -> bool:
        """Connect, subscribe and say that the device is here; False if `stop` was set first.

        Blocks for some seconds at most.

        Raises:
            LinkError: the broker cannot be reached or refuses.
        """
        try:
            opened = self._handshake(stop)
        except LinkError:
            self._release()
            raise
        if not opened:
            self._release()
        return opened

    def turn(self, timeout_s: float) -> list[Heard]:
        """Do the network's work, waiting at most `timeout_s` for any; what came of it.

        Raises:
            LinkError: the connection is lost.
        """
        self._loop(timeout_s)
        heard = list(self._queue)
        self._queue.clear()
        return heard

    def publish(self, kind: Kind, data: bytes, *, qos: int = 1) -> int:
        """Hand a message over; its number comes back in `Acknowledged` where `qos` is 1.

        Raises:
            LinkError: the connection is lost.
        """
        info = self._client.publish(self._topic(kind), data, qos=qos)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise LinkError(self._failure or mqtt.error_string(info.rc))
        return info.mid

    def close(self) -> None:
        """Say goodbye where the connection still stands; the will says it where it does not."""
        try:
            if self._client.is_connected():
                self._say_goodbye()
        finally:
            self._release()

    def _handshake(self, stop: threading.Event) -> bool:
        try:
            where = self._settings
            self._client.connect(where.host, where.port, where.keepalive_s)
        except (OSError, ValueError) as error:
            raise LinkError(f"cannot connect: {error}") from error
        deadline = time.monotonic() + _HANDSHAKE_S
        while not self._subscribed:
            if stop.is_set():
                return False
            if time.monotonic() > deadline:
                raise LinkError(f"no answer from the broker within {_HANDSHAKE_S:g} s")
            self._loop(0.1)
        self._client.publish(
            self._topic(Kind.PRESENCE), self._presence_data(online=True), qos=1, retain=True
        )
        return True

    def _say_goodbye(self) -> None:
        info = self._client.publish(
            self._topic(Kind.PRESENCE), self._presence_data(online=False), qos=1, retain=True
        )
        deadline = time.monotonic() + _FAREWELL_S
        try:
            while not info.is_published() and time.monotonic() < deadline:
                self._loop(0.05)
            self._client.disconnect()
            while self._client.socket() is not None and time.monotonic() < deadline:
                self._loop(0.05)
        except LinkError as error:
            _log.debug("the connection ended while it was being closed: %s", error)

    def _release(self) -> None:
        # Client and link refer to each other: left to the collector, the sockets would pile up.
        self._client._reset_sockets()

    def _receive_checked(self, bufsize: int) -> bytes:
        """What paho reads with; once it knows how long a packet is, it asks for all the rest."""
        if bufsize > self._largest:
            self._failure = (
                f"a message of {bufsize} bytes came, at most {self._largest} are allowed: if this "
                f"goes on, look at the broker for retained messages on {self._topic(Kind.WANT)} "
                f"and {self._topic(Kind.RECEIPT)}"
            )
            raise _TooLargeError(self._failure)
        return self._receive(bufsize)

    def _loop(self, timeout_s: float) -> None:
        code = self._client.loop(timeout_s)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise LinkError(self._failure or mqtt.error_string(code))
        if self._failure is not None:
            raise LinkError(self._failure)

    def _topic(self, kind: Kind) -> str:
        return topics.build(self._device, kind)

    def _presence_data(self, *, online: bool) -> bytes:
        return encode(
            Presence(
                online=online,
                birth=self._presence.birth,
                agent_version=self._presence.agent_version,
            )
        )

    # paho's callbacks; they run inside `_loop` and only note what happened

    def _on_socket_open(self, _client: mqtt.Client, _data: Any, sock: Any) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _more: Any
    ) -> None:
        if code.is_failure:
            self._failure = f"the broker refuses: {code}"
            return
        client.subscribe([(self._topic(kind), 1) for kind in topics.TO_DEVICE])

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, _mid: int, codes: list[ReasonCode], _more: Any
    ) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        if refused:
            self._failure = f"the broker refuses the subscriptions: {', '.join(refused)}"
        else:
            self._subscribed = True

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _more: Any
    ) -> None:
        if self._failure is None and code.is_failure:
            self._failure = f"connection lost: {code}"

    def _on_publish(
        self, _client: mqtt.Client, _data: Any, mid: int, _code: ReasonCode, _more: Properties
    ) -> None:
        self._queue.append(Acknowledged(mid))

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        topic = topics.parse(message.topic)
        if topic is None:
            return
        if message.retain:
            # Kept by the broker from some earlier time: whatever it answers is long over.
            _log.warning("ignored a retained message on %s", message.topic)
            self.dropped += 1
            return
        if len(self._queue) >= QUEUE_LIMIT:
            self.dropped += 1
            return
        self._queue.append(Arrived(topic.kind, bytes(message.payload)))
