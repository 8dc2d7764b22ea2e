"""Several workers on one store, and what a service manager hears of one."""

from __future__ import annotations

import socket
import time

import pytest
from sqlalchemy import create_engine, text


@pytest.mark.mosquitto
def test_two_workers_share_the_chunks_of_one_sample(
    tmp_path, start_server, new_device, picture, describe, mosquitto
):
    """The broker deals chunks out to two processes in turn; neither sees a whole payload, yet
    every sample is stored once, byte for byte."""
    folder = tmp_path / "base"
    for number in (1, 2):
        settings = tmp_path / f"worker-{number}.toml"
        settings.write_text(f'[intake]\nclient_id = "worker-{number}"\nshare_group = "base"\n')
        start_server(folder, "--config", str(settings), "--broker", mosquitto, "--no-web")
    device = new_device("drone-1")
    sent = {}
    for index in range(6):
        payload = picture(index, size=150)
        sample = describe(payload, sequence=index)
        device.add(sample, payload)
        sent[sample.sample_id] = payload
    device.connect(mosquitto)
    device.drain()
    assert set(device.outcomes.values()) == {"stored"}
    engine = create_engine(f"sqlite:///{folder / 'curation.db'}")
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT sample_id, state, payload_sha256 FROM samples")
        ).all()
        left = connection.execute(text("SELECT count(*) FROM parts")).scalar_one()
    engine.dispose()
    assert left == 0
    assert {
        row.sample_id: (
            folder / "blobs" / row.payload_sha256[:2] / row.payload_sha256[2:]
        ).read_bytes()
        for row in rows
    } == sent


def test_a_service_manager_hears_of_ready_progress_and_stop(tmp_path, start_server, monkeypatch):
    """READY once up, WATCHDOG while the intake runs, STOPPING at the end."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        server = start_server(tmp_path / "base", "--embedded-broker", "127.0.0.1:0", "--no-web")
        heard = set()
        while not {"READY=1", "WATCHDOG=1"} <= heard:
            heard |= set(manager.recv(4096).decode().splitlines())
        assert server.terminate() == 0
        while "STOPPING=1" not in heard:
            heard |= set(manager.recv(4096).decode().splitlines())


def test_a_full_stop_of_the_store_starves_the_watchdog(
    tmp_path, start_server, new_device, picture, describe, monkeypatch
):
    """A batch that cannot be committed gives no sign of life; it resumes with the commit."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "30000")
        server = start_server(tmp_path / "base", "--embedded-broker", "127.0.0.1:0", "--no-web")
        device = new_device("drone-1")
        payload = picture(1)
        device.add(describe(payload, payload=payload), payload)
        device.connect(server.broker)
        engine = create_engine(f"sqlite:///{tmp_path / 'base' / 'curation.db'}")
        with engine.connect() as connection:
            connection.execute(text("ALTER TABLE samples RENAME TO away"))
            connection.commit()
            device.offer()
            log = tmp_path / "base" / "log.txt"
            while "does not take messages" not in log.read_text():
                time.sleep(0.02)
            manager.setblocking(False)
            _emptied(manager)
            time.sleep(1.5)  # several idle rounds of the intake
            assert "WATCHDOG=1" not in _emptied(manager)
            connection.execute(text("ALTER TABLE away RENAME TO samples"))
            connection.commit()
        engine.dispose()
        manager.settimeout(20)
        heard = ""
        while "WATCHDOG=1" not in heard:
            heard += manager.recv(4096).decode()
        device.drain()
        assert list(device.outcomes.values()) == ["stored"]


def _emptied(manager):
    """All that waits on the socket."""
    heard = ""
    while True:
        try:
            heard += manager.recv(4096).decode()
        except BlockingIOError:
            return heard
