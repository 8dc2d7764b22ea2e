"""The MQTT side of the intake: messages into a bounded queue, answers and acknowledgements out.

A fresh client per connection: paho sends what an old one had queued again without regard to its
own window. The broker keeps the session, so what was not acknowledged comes again.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from operations.broker import BrokerSettings, new_client
from server_sync.intake.inbox import Inbound, bounded
from server_sync.settings import IntakeSettings
from sync_protocol import topics

_log = logging.getLogger(__name__)

_BACKOFF_S = (0.2, 30.0)
_MAX_ANSWERS_QUEUED = 1000


class Link:
    """Keeps a connection to the broker until told to stop."""

    def __init__(
        self, broker: BrokerSettings, intake: IntakeSettings, inbox: queue.Queue[Inbound]
    ) -> None:
        self._broker = broker
        self._intake = intake
        self._inbox = inbox
        self._stopping = threading.Event()
        self._down = threading.Event()
        self._guard = threading.Lock()
        self._client: mqtt.Client | None = None
        self._connection = 0
        self.subscribed = threading.Event()
        """Set while messages can come."""

    def run(self) -> None:
        """Connect, serve, and connect again, until `stop`.

        Raises:
            operations.errors.OperatorError: certificates or password file are not usable.
        """
        pause = _BACKOFF_S[0]
        while not self._stopping.is_set():
            if self._serve_once():
                pause = _BACKOFF_S[0]
            # Jitter, so that workers do not all come back at once.
            self._stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(pause * 2, _BACKOFF_S[1])

    def stop(self) -> None:
        """End `run`; from any thread."""
        self._stopping.set()
        self._down.set()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand an answer over; False if it is lost (the device will offer again)."""
        with self._guard:
            client = self._client
        if client is None:
            return False
        return client.publish(topic, payload, qos=1).rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def acknowledge(self, message: Inbound) -> None:
        """Tell the broker that a message is safe; in vain once its connection is gone."""
        with self._guard:
            client = self._client if message.connection == self._connection else None
        if client is not None and message.qos > 0:
            client.ack(message.mid, message.qos)

    def _serve_once(self) -> bool:
        """One connection, from its beginning to its end. True if messages could come."""
        client = new_client(
            self._broker, self._intake.client_id, clean_session=False, manual_ack=True
        )
        client.max_queued_messages_set(_MAX_ANSWERS_QUEUED)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        self._down.clear()
        with self._guard:
            self._connection += 1
        try:
            client.connect(self._broker.host, self._broker.port, self._broker.keepalive_s)
        except (OSError, ValueError) as error:
            _log.warning(
                "broker not reached",
                extra={"host": self._broker.host, "port": self._broker.port, "cause": error},
            )
            return False
        client.loop_start()
        if not self._stopping.is_set():
            self._down.wait()
        was_up = self.subscribed.is_set()
        self.subscribed.clear()
        with self._guard:
            self._client = None
        client.disconnect()
        client.loop_stop()
        return was_up

    def _on_connect(
        self,
        client: mqtt.Client,
        _data: Any,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            _log.error("broker refused the connection", extra={"reason": str(reason)})
            self._down.set()
            return
        with self._guard:
            self._client = client
        prefix = f"$share/{self._intake.share_group}/" if self._intake.share_group else ""
        filters = [
            (prefix + topics.every_device(kind), 0 if kind is topics.Kind.STATUS else 1)
            for kind in topics.FROM_DEVICE
        ]
        result, _ = client.subscribe(filters)
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._down.set()

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _data: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            _log.error("broker refused a subscription; check its access rules for this client")
            self._down.set()
            return
        _log.info(
            "listening to devices", extra={"host": self._broker.host, "port": self._broker.port}
        )
        self.subscribed.set()

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: Any,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self._stopping.is_set():
            _log.warning("connection to the broker lost", extra={"reason": str(reason)})
        self._down.set()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        """Only enqueue. A full queue holds the connection up, and so the broker."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "(a topic that is not UTF-8)"
        # What is too large is kept as its head. It goes the way of all messages, to quarantine and
        # to its acknowledgement: dropped here, the broker would send it again for ever.
        payload, cut_from = bounded(topic, message.payload)
        message.payload = b""
        inbound = Inbound(topic, payload, message.qos, message.mid, self._connection, cut_from)
        while not self._stopping.is_set() and not self._down.is_set():
            try:
                self._inbox.put(inbound, timeout=0.5)
            except queue.Full:
                continue
            return
