"""The shipped broker configuration, run by a real mosquitto with real certificates."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from operations.broker import BrokerSettings, TlsSettings, new_client

SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
NAMES = ("base", "drone-1", "drone-2")


def certify(folder: Path) -> None:
    """An authority, and certificates for the broker and each client."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", "/CN=ca")
    openssl(*new, "-x509", "-days", "2", *authority, "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "extensions").write_text(
        "subjectAltName=IP:127.0.0.1\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    for name in ("broker", *NAMES):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", f"{name}.pem"),
        )


@pytest.fixture
def broker(tmp_path: Path, repository: Path) -> Iterator[int]:
    """mosquitto with the shipped files, their places and port moved into the test's folder."""
    program = shutil.which("mosquitto", path=SEARCH)
    if program is None or shutil.which("openssl") is None:
        pytest.skip("mosquitto and openssl are not both on the PATH")
    certify(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    shutil.copy(repository / "configs" / "mosquitto.acl", tmp_path)
    text = (repository / "configs" / "mosquitto.conf").read_text(encoding="utf-8")
    text = text.replace("/etc/tilesift", str(tmp_path)).replace("/var/lib/mosquitto", str(tmp_path))
    text = text.replace("listener 8883", f"listener {port} 127.0.0.1")
    (tmp_path / "mosquitto.conf").write_text(text + "user root\n", encoding="utf-8")
    process = subprocess.Popen(
        [program, "-c", tmp_path / "mosquitto.conf"], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            break
        except OSError:
            time.sleep(0.05)
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def connect(
    broker: int, tmp_path: Path
) -> Iterator[Callable[[str], tuple[Client, queue.Queue[str]]]]:
    """Connects a client by its certificate; what it hears goes into its queue, by topic."""
    clients: list[Client] = []

    def make(name: str) -> tuple[Client, queue.Queue[str]]:
        tls = TlsSettings(
            str(tmp_path / "ca.pem"), str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key")
        )
        settings = BrokerSettings(host="127.0.0.1", port=broker, tls=tls)
        client = new_client(settings, f"test-{name}", clean_session=True)
        heard: queue.Queue[str] = queue.Queue()
        client.on_message = lambda _client, _data, message: heard.put(message.topic)
        client.on_subscribe = lambda *_: heard.put("subscribed")
        client.connect("127.0.0.1", broker)
        client.loop_start()
        client.subscribe("tilesift/#", qos=1)
        assert heard.get(timeout=10) == "subscribed"
        clients.append(client)
        return client, heard

    yield make
    for client in clients:
        client.disconnect()
        client.loop_stop()


def heard_so_far(heard: queue.Queue[str]) -> list[str]:
    """Everything that arrives until nothing has come for a second."""
    found = []
    while True:
        try:
            found.append(heard.get(timeout=1.0))
        except queue.Empty:
            return found


@pytest.mark.mosquitto
def test_each_speaks_and_hears_for_itself_alone(
    connect: Callable[[str], tuple[Client, queue.Queue[str]]],
) -> None:
    """A device cannot offer for another nor forge a receipt; the base hears all and answers all."""
    everyone = {name: connect(name) for name in NAMES}
    kinds = ("offer", "chunk", "status", "presence", "want", "receipt")
    for name, (client, _) in everyone.items():
        for device in NAMES[1:]:
            for kind in kinds:
                client.publish(f"tilesift/1/{device}/{kind}", name, qos=1).wait_for_publish(10)
    heard = {name: sorted(heard_so_far(pair[1])) for name, pair in everyone.items()}
    devices = NAMES[1:]
    assert heard["base"] == sorted(f"tilesift/1/{d}/{k}" for d in devices for k in kinds[:4])
    for device in devices:
        assert heard[device] == sorted(f"tilesift/1/{device}/{k}" for k in kinds[4:])
