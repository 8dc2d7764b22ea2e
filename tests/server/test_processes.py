"""The base as a real process, over real brokers, killed at bad moments."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from sync_protocol import topics


def stored(folder: Path) -> dict[str, tuple[str, str, bytes]]:
    """Sample id -> device, state and the bytes of its picture."""
    engine = create_engine(f"sqlite:///{folder / 'curation.db'}")
    result = {}
    with engine.connect() as connection:
        for device, sample_id, state, sha in connection.execute(
            text("SELECT device, sample_id, state, payload_sha256 FROM samples")
        ):
            file = folder / "blobs" / sha[:2] / sha[2:]
            assert sample_id not in result
            result[sample_id] = (device, state, file.read_bytes() if file.exists() else b"")
    engine.dispose()
    return result


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def broker_arguments(request: pytest.FixtureRequest) -> list[str]:
    """The same tests over both brokers."""
    if request.param == "embedded":
        return ["--embedded-broker", "127.0.0.1:0"]
    return ["--broker", request.getfixturevalue("mosquitto")]


def test_samples_of_two_devices_arrive_whole(
    tmp_path, start_server, new_device, picture, describe, broker_arguments
):
    """Two devices send at once; every payload is stored byte for byte and every end is told."""
    server = start_server(tmp_path / "base", *broker_arguments, "--no-web")
    sent = {}
    devices = [new_device("drone-1"), new_device("drone-2")]
    for number, device in enumerate(devices):
        for index in range(20):
            payload = picture(100 * number + index, size=64)
            sample = describe(payload, sequence=index)
            device.add(sample, payload)
            sent[sample.sample_id] = (device.name, "stored", payload)
        device.connect(server.broker)
    for device in devices:
        device.drain()
    assert stored(tmp_path / "base") == sent
    assert all(set(device.outcomes.values()) == {"stored"} for device in devices)
    assert server.terminate() == 0


def test_a_kill_in_the_middle_of_a_payload_loses_nothing_received(
    tmp_path, start_server, new_device, picture, describe, broker_arguments
):
    """SIGKILL after some chunks: the next server asks for the rest only, and stores the whole."""
    server = start_server(tmp_path / "base", *broker_arguments, "--no-web")
    device = new_device("drone-1")
    payload = picture(1, size=200)
    sample = describe(payload)
    device.add(sample, payload)
    device.connect(server.broker)
    device.offer()
    assert device.step_once(10, chunk_limit=5)
    engine = create_engine(f"sqlite:///{tmp_path / 'base' / 'curation.db'}")
    received = 0
    while received < 5 * device.step:
        with engine.connect() as connection:
            received = connection.execute(text("SELECT coalesce(sum(size), 0) FROM parts")).scalar()
    engine.dispose()
    server.kill()
    device.disconnect()
    again = start_server(tmp_path / "base", *broker_arguments, "--no-web")
    device.connect(again.broker)
    device.drain()
    assert stored(tmp_path / "base") == {sample.sample_id: ("drone-1", "stored", payload)}
    assert device.sent_bytes == len(payload)


def test_garbage_of_any_kind_is_set_aside_and_the_work_goes_on(
    tmp_path, start_server, new_device, picture, describe, broker_arguments
):
    """Bytes that decode to nothing, on every topic, do not stop a sound sample behind them."""
    server = start_server(tmp_path / "base", *broker_arguments, "--no-web")
    device = new_device("drone-1")
    device.connect(server.broker)
    for kind in topics.FROM_DEVICE:
        device.publish(kind, b"\xc1garbage")
        device.publish(kind, b"")
    payload = picture(1)
    sample = describe(payload)
    device.add(sample, payload)
    device.drain()
    assert device.outcomes == {sample.sample_id: "stored"}
    engine = create_engine(f"sqlite:///{tmp_path / 'base' / 'curation.db'}")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM quarantine")).scalar() == 8
    engine.dispose()
    assert server.process.poll() is None


def test_equal_pixels_travel_once(
    tmp_path, start_server, new_device, picture, describe, broker_arguments
):
    """The second device with the same bytes gets `duplicate` and sends no pixels."""
    server = start_server(tmp_path / "base", *broker_arguments, "--no-web")
    payload = picture(7, size=64)
    first, second = new_device("drone-1"), new_device("drone-2")
    for device in (first, second):
        device.add(describe(payload), payload)
        device.connect(server.broker)
        device.drain()
    assert list(first.outcomes.values()) == ["stored"]
    assert list(second.outcomes.values()) == ["duplicate"]
    assert second.sent_bytes == 0
    blobs = [p for p in (tmp_path / "base" / "blobs").rglob("*") if p.is_file()]
    assert [hashlib.sha256(p.read_bytes()).hexdigest() for p in blobs] == [
        hashlib.sha256(payload).hexdigest()
    ]
