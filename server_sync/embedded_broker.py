"""A broker inside the process, for a demo or one base without mosquitto: loopback only."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import threading
from typing import Any

from operations.errors import OperatorError, Problem

_START_S = 20.0
_PLUGIN = "amqtt.plugins.authentication.AnonymousAuthPlugin"


class EmbeddedBroker:
    """amqtt in a thread with an event loop of its own. MQTT 3.1.1, nothing kept on disk."""

    def __init__(self, host: str, port: int) -> None:
        """Port 0 takes a free one.

        Raises:
            OperatorError: `host` is not a loopback address, or amqtt is not installed.
        """
        if not _is_loopback(host):
            raise OperatorError(
                f"the embedded broker does not listen on {host}",
                [
                    Problem(
                        "it lets anybody in, so it serves this machine only",
                        "use 127.0.0.1, or run mosquitto with certificates and name it by --broker",
                    )
                ],
            )
        _require_amqtt()
        self.host = host
        self.port = port
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def start(self) -> None:
        """Listen; `port` is then the one taken.

        Raises:
            OperatorError: the address is taken.
        """
        self._thread.start()
        if not self._ready.wait(_START_S) or self._error is not None:
            cause = str(self._error or "it does not start")
            raise OperatorError(
                f"the embedded broker cannot listen on {self.host}, port {self.port}",
                [Problem(cause, "give another port, or 0 for a free one")],
            )

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Close all connections and end the thread."""
        if self._loop is not None and self._end is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(_START_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except _broker_error() as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        from amqtt.broker import Broker

        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{self.host}:{self.port}"}},
                "plugins": {_PLUGIN: {"allow_anonymous": True}},
            }
        )
        await broker.start()
        self.port = _port_of(broker)
        self._ready.set()
        await self._end.wait()
        await broker.shutdown()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require_amqtt() -> None:
    try:
        import amqtt.broker  # noqa: F401 - only to see whether it is there
    except ImportError as error:
        raise OperatorError(
            "the embedded broker is not installed",
            [Problem(str(error), 'pip install "tilesift[broker]", or run mosquitto')],
        ) from error
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Every client that dies in the middle of a packet is a traceback to amqtt; to us it is Tuesday.
    logging.getLogger("amqtt.broker").setLevel(logging.CRITICAL)


def _broker_error() -> type[Exception]:
    from amqtt.errors import BrokerError

    error: type[Exception] = BrokerError
    return error


def _port_of(broker: Any) -> int:
    """The port in use; amqtt has no public way to tell the one behind port 0."""
    server = broker._servers["default"].instance
    return int(server.sockets[0].getsockname()[1])
