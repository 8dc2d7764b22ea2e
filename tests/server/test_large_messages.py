"""Messages larger than the contract allows: noted, acknowledged, and never kept in memory."""

from __future__ import annotations

import queue

import pytest
from sqlalchemy import create_engine, text

from server_sync.intake.inbox import Inbound, Inbox, bounded
from sync_protocol import codec, topics
from sync_protocol import messages as m


def test_only_the_head_is_kept_of_what_is_too_large():
    """A message at its kind's limit is kept whole; one byte more, or a foreign topic: 512 bytes."""
    kinds = {
        topics.Kind.OFFER: m.Offer,
        topics.Kind.CHUNK: m.Chunk,
        topics.Kind.STATUS: m.Status,
        topics.Kind.PRESENCE: m.Presence,
    }
    for kind, message in kinds.items():
        limit = codec.MAX_BYTES[message]
        topic = topics.build("drone-1", kind)
        assert bounded(topic, b"x" * limit) == (b"x" * limit, None)
        assert bounded(topic, b"x" * (limit + 1)) == (b"x" * 512, limit + 1)
    assert bounded("foreign", b"x" * 513) == (b"x" * 512, 513)


def test_the_inbox_is_full_by_number_and_by_bytes():
    """Three messages, or 1000 bytes: whichever comes first; room comes back with each one taken."""

    def message(size):
        return Inbound("topic", b"x" * size, 1, 1, 1)

    inbox = Inbox(3, 1000)
    for _ in range(3):
        inbox.put_nowait(message(10))
    with pytest.raises(queue.Full):
        inbox.put_nowait(message(10))
    for _ in range(3):
        inbox.get_nowait()
    inbox.put_nowait(message(900))
    inbox.put_nowait(message(900))
    with pytest.raises(queue.Full):
        inbox.put_nowait(message(1))
    inbox.get_nowait()
    inbox.put_nowait(message(1))
    assert [len(inbox.get_nowait().payload) for _ in range(2)] == [900, 1]
    with pytest.raises(queue.Empty):
        inbox.get_nowait()


@pytest.mark.mosquitto
def test_a_huge_message_is_acknowledged_and_the_next_one_served(
    tmp_path, start_server, new_device, picture, describe, mosquitto
):
    """20 MB on a device's topic: in quarantine with its true size and 512 bytes, once; it does not
    come again after a restart, and the samples behind it are stored."""
    base = tmp_path / "base"
    server = start_server(base, "--broker", mosquitto, "--no-web")
    device = new_device("drone-1")
    device.connect(server.broker)
    device.publish(topics.Kind.CHUNK, b"\x81" * 20_000_000)
    device.publish(topics.Kind.OFFER, b"\x81" * 20_000)
    payload = picture(1)
    sample = describe(payload)
    device.add(sample, payload)
    device.drain()
    assert device.outcomes == {sample.sample_id: "stored"}
    assert server.terminate() == 0
    again = start_server(base, "--broker", mosquitto, "--no-web")
    device.add(sample, payload)
    device.drain()
    assert again.terminate() == 0
    engine = create_engine(f"sqlite:///{base / 'curation.db'}")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT size, length(head) FROM quarantine ORDER BY id"))
        assert rows.all() == [(20_000_000, 512), (20_000, 512)]
    engine.dispose()
