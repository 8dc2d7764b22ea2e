"""uvicorn in a thread, on a socket that is already open."""

from __future__ import annotations

import socket
import threading

import uvicorn

from server_sync.settings import WebSettings
from server_sync.store.blobs import Blobs
from server_sync.store.metadata import Metadata
from server_sync.web.app import create_app


class WebServer:
    """Serves the review pages until stopped."""

    def __init__(
        self, listening: socket.socket, metadata: Metadata, blobs: Blobs, settings: WebSettings
    ) -> None:
        self.port: int = listening.getsockname()[1]
        self._socket = listening
        config = uvicorn.Config(
            create_app(metadata, blobs, settings),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer; the socket queues what comes earlier."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the requests in hand and end."""
        self._server.should_exit = True
        self._thread.join(timeout_s)
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])
