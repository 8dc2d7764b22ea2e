"""Messages into a real store: what comes of garbage, bad pictures, full disks and odd values."""

from __future__ import annotations

import queue
import threading
import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from server_sync.intake.answers import answers
from server_sync.intake.apply import Intake
from server_sync.intake.inbox import Inbound
from server_sync.intake.ingest import Worker
from server_sync.intake.salvage import salvage_offer
from server_sync.settings import IntakeSettings
from server_sync.store.blobs import BlobFolder
from server_sync.store.metadata import open_metadata
from server_sync.store.schema import samples
from sync_protocol import codec, topics
from sync_protocol import messages as m


class Base:
    """A store and a worker; answers are collected."""

    def __init__(self, folder, free_bytes=None, **changes):
        self.metadata = open_metadata(f"sqlite:///{folder}/curation.db")
        self.blobs = BlobFolder(folder / "blobs")
        if free_bytes is not None:
            self.blobs.free_bytes = lambda: free_bytes
        self.sent = []
        self.acknowledged = []
        self.worker = Worker(
            queue.Queue(), self, self.metadata, Intake(IntakeSettings(**changes), self.blobs),
            self.blobs, batch_messages=8, min_free_bytes=1000,
        )  # fmt: skip

    def publish(self, topic, payload):
        self.sent.append((topic, payload))
        return True

    def acknowledge(self, message):
        self.acknowledged.append(message.mid)

    def take(self, *messages, device="drone-1"):
        """Process messages (bytes with a kind, or typed ones); gives the answers per sample."""
        kinds = {m.Offer: topics.Kind.OFFER, m.Chunk: topics.Kind.CHUNK}
        batch = []
        for mid, message in enumerate(messages):
            if isinstance(message, tuple):
                topic, payload = message
            else:
                topic = topics.build(device, kinds[type(message)])
                payload = codec.encode(message)
            batch.append(Inbound(topic, payload, 1, mid, 1))
        self.sent.clear()
        self.acknowledged.clear()
        assert self.worker.process(batch)
        assert self.acknowledged == list(range(len(messages)))
        result = {}
        for topic, payload in self.sent:
            if topic.endswith("/receipt"):
                for settlement in codec.decode(payload, m.Receipt).settlements:
                    result[settlement.sample_id] = settlement
            else:
                for answer in codec.decode(payload, m.Want).answers:
                    result[answer.sample_id] = answer
        return result

    def query(self, sql):
        with self.metadata.reading() as connection:
            return connection.execute(text(sql)).all()


@pytest.fixture
def base(tmp_path):
    made = []

    def make(**changes):
        made.append(Base(tmp_path, **changes))
        return made[-1]

    yield make
    for each in made:
        each.metadata.close()


def offer(*some):
    return m.Offer(samples=some)


def whole(sample, payload):
    return m.Chunk(
        sample_id=sample.sample_id,
        payload_sha256=sample.payload_sha256,
        payload_size=len(payload),
        offset=0,
        crc32=zlib.crc32(payload),
        data=payload,
    )


def test_bytes_that_are_no_picture_are_rejected_and_set_aside(base, describe):
    """Right hash, wrong content: rejected, in quarantine, never among the blobs."""
    here = base()
    sample = describe(b"no picture at all")
    here.take(offer(sample))
    reply = here.take(whole(sample, b"no picture at all"))[sample.sample_id]
    assert reply.outcome == "rejected"
    assert here.query("SELECT state FROM samples") == [("rejected",)]
    assert here.query("SELECT count(*) FROM quarantine") == [(1,)]
    assert here.query("SELECT count(*) FROM pictures") == [(0,)]
    assert here.query("SELECT count(*) FROM parts") == [(0,)]


def test_pixels_with_a_wrong_hash_are_wanted_again_then_rejected(base, describe, picture):
    """A payload that arrives whole but wrong is dropped and asked for, twice, then given up."""
    here = base()
    payload = picture(1)
    sample = describe(payload)
    wrong = bytes([payload[0] ^ 1]) + payload[1:]
    here.take(offer(sample))
    asks = [here.take(whole(sample, wrong))[sample.sample_id] for _ in range(3)]
    assert [getattr(ask, "ask", None) for ask in asks] == ["want", "want", None]
    assert asks[0].missing == (m.ByteRange(offset=0, end=len(payload)),)
    assert asks[2].outcome == "rejected"


def test_offering_again_does_not_wipe_out_the_count_of_damage(base, describe, picture):
    """Damaged, offered again, damaged, ...: the third time is the last; other pixels under the
    same id begin anew."""
    here = base()
    payload = picture(1)
    sample = describe(payload)
    wrong = bytes([payload[0] ^ 1]) + payload[1:]
    for _ in range(2):
        here.take(offer(sample))
        assert here.take(whole(sample, wrong))[sample.sample_id].ask == "want"
    other = describe(picture(2), sample_id=sample.sample_id)
    assert here.take(offer(other))[sample.sample_id].ask == "want"
    assert here.query("SELECT failures FROM samples") == [(0,)]
    for _ in range(3):
        here.take(offer(sample))
        reply = here.take(whole(sample, wrong))[sample.sample_id]
    assert reply.outcome == "rejected"


def test_a_payload_in_one_chunk_never_passes_through_the_parts(base, describe, picture):
    """Its bytes are written once, as a blob: no row is ever put into `parts`."""
    here = base()
    with here.metadata.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER none BEFORE INSERT ON parts BEGIN SELECT RAISE(ABORT, 'a part'); END"
        )
    sample = describe(picture(1))
    here.take(offer(sample))
    assert here.take(whole(sample, picture(1)))[sample.sample_id].outcome == "stored"


def test_a_near_identical_picture_is_skipped_once_one_is_held(base, describe, picture):
    """Two pHashes 3 bits apart: the second description is kept, its pixels are not asked for."""
    here = base()
    first, second, third = (
        describe(picture(n), perceptual_hash=phash.to_bytes(8, "big"))
        for n, phash in ((1, 0xFFFF0000FFFF0000), (2, 0xFFFF0000FFFF0007), (3, 0))
    )
    here.take(offer(first), whole(first, picture(1)))
    replies = here.take(offer(second, third), device="drone-2")
    assert replies[second.sample_id].outcome == "skipped"
    assert first.sample_id in replies[second.sample_id].detail
    assert replies[third.sample_id].ask == "want"


def test_a_picture_lost_from_disk_is_asked_for_again(base, describe, picture):
    """`duplicate` is only said of bytes that are really there; the next offer brings them back."""
    here = base()
    payload = picture(1)
    first, second = describe(payload, payload=payload), describe(payload)
    here.take(offer(first))
    name = first.payload_sha256.hex()
    (here.blobs.root / name[:2] / name[2:]).unlink()
    assert here.take(offer(second), device="drone-2")[second.sample_id].ask == "want"
    here.take(whole(second, payload), device="drone-2")
    assert here.blobs.get(name) == payload


def test_a_full_disk_keeps_what_costs_nothing(base, describe, picture):
    """Without room pixels must wait and nothing is written of them; garbage is still noted."""
    here = base(free_bytes=10)
    sample = describe(picture(1), payload=picture(1))
    replies = here.take(offer(sample), (topics.build("drone-1", topics.Kind.OFFER), b"\xc1"))
    assert (replies[sample.sample_id].ask, replies[sample.sample_id].retry_after_s) == (
        "later",
        300.0,
    )
    assert here.query("SELECT count(*) FROM samples") == [(0,)]
    assert here.query("SELECT count(*) FROM quarantine") == [(1,)]


def test_a_full_disk_of_the_database_counts_as_much(base, describe, picture):
    """Blobs have room, the database has not: pixels wait all the same."""
    here = base(free_bytes=10**12)
    here.metadata.free_bytes = lambda: 10
    sample = describe(picture(1))
    assert here.take(offer(sample))[sample.sample_id].ask == "later"


def test_a_device_has_no_more_under_way_than_its_share(base, describe, picture):
    """Two samples may be under way: the third waits until one is stored; another device and a
    sample asked for already do not."""
    here = base(device_samples=2)
    some = [describe(picture(n)) for n in range(3)]
    replies = here.take(offer(*some))
    assert [replies[each.sample_id].ask for each in some] == ["want", "want", "later"]
    assert replies[some[2].sample_id].retry_after_s == 30.0
    assert here.take(offer(some[0]))[some[0].sample_id].ask == "want"
    other = describe(picture(9))
    assert here.take(offer(other), device="drone-2")[other.sample_id].ask == "want"
    here.take(whole(some[0], picture(0)))
    assert here.take(offer(some[2]))[some[2].sample_id].ask == "want"


def test_a_device_has_no_more_bytes_under_way_than_its_share(base, describe):
    """17 MB: one payload of 16 MiB fits, with a second of 1 MB it is too much."""
    here = base(device_mb=17)
    big = describe(b"big", payload_size=m.PAYLOAD_MAX_BYTES)
    small = describe(b"small", payload_size=1_000_000)
    replies = here.take(offer(big, small))
    assert [replies[each.sample_id].ask for each in (big, small)] == ["want", "later"]


def test_equal_bytes_under_way_are_not_asked_for_twice(base, describe, picture):
    """The second waits, and is a duplicate once the first is stored; a sample of which the twin
    never comes is asked for after its wait, and whichever is complete last is the duplicate."""
    here = base(twin_wait_s=600.0)
    first, second, third = (describe(picture(1)) for _ in range(3))
    assert here.take(offer(first))[first.sample_id].ask == "want"
    assert here.take(offer(second), device="drone-2")[second.sample_id].ask == "later"
    with here.metadata.writing() as connection:
        connection.exec_driver_sql("UPDATE samples SET offered_ms = offered_ms - 601000")
    assert here.take(offer(second), device="drone-2")[second.sample_id].ask == "want"
    ends = here.take(whole(second, picture(1)), device="drone-2")
    assert ends[second.sample_id].outcome == "stored"
    assert here.take(offer(third))[third.sample_id].outcome == "duplicate"
    end = here.take(whole(first, picture(1)))[first.sample_id]
    assert (end.outcome, end.detail) == (
        "duplicate",
        f"the same bytes as drone-2/{second.sample_id}",
    )


def test_what_never_comes_is_given_up_and_may_be_offered_again(base, describe, picture):
    """After its days a wanted sample and its parts are gone, a stored one stays; offered again, it
    is wanted whole."""
    here = base(forget_wanted_days=2)
    kept, lost = describe(picture(1), payload=picture(1)), describe(picture(2))
    here.take(offer(kept, lost))
    part = msgspec.structs.replace(
        whole(lost, picture(2)), data=picture(2)[:100], crc32=zlib.crc32(picture(2)[:100])
    )
    here.take(part)
    stopped = threading.Timer(1.0, here.worker.stop)
    with here.metadata.writing() as connection:
        connection.exec_driver_sql("UPDATE samples SET offered_ms = offered_ms - 2 * 86400001")
    stopped.start()
    here.worker.run()
    assert here.query("SELECT state FROM samples") == [("stored",)]
    assert here.query("SELECT count(*) FROM parts") == [(0,)]
    reply = here.take(offer(lost))[lost.sample_id]
    assert reply.missing == (m.ByteRange(offset=0, end=len(picture(2))),)


def test_one_bad_sample_does_not_silence_its_neighbours(base, describe, picture):
    """An offer with an unknown payload type and a broken description: the sound one is stored,
    the others get their ends, the message is in quarantine."""
    here = base()
    sound = describe(picture(1), payload=picture(1))
    raw = msgspec.to_builtins(sound, builtin_types=(bytes,))
    newer = raw | {"sample_id": "b" * 32, "payload_type": "image/jxl"}
    broken = raw | {"sample_id": "c" * 32, "value": 7.0}
    data = msgspec.msgpack.encode({"samples": [raw, newer, broken, 5, {"sample_id": 3}]})
    replies = here.take((topics.build("drone-1", topics.Kind.OFFER), data))
    outcomes = {sample_id: reply.outcome for sample_id, reply in replies.items()}
    assert outcomes == {sound.sample_id: "stored", "b" * 32: "unsupported", "c" * 32: "rejected"}
    assert here.query("SELECT count(*) FROM quarantine") == [(1,)]


@settings(max_examples=300)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.floats(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=12,
    ).map(lambda value: msgspec.msgpack.encode({"samples": value}))
)
def test_salvage_never_raises(data):
    """Any bytes, and any msgpack under `samples`, give samples and ends, perhaps none."""
    salvaged = salvage_offer(data)
    assert len(salvaged.samples) + len(salvaged.settlements) <= m.OFFER_MAX_SAMPLES


def test_topics_that_are_not_ours_are_set_aside(base):
    """A foreign topic, another major version and a base-to-device topic are quarantined."""
    here = base()
    names = ["other/topic", "tilesift/2/drone-1/offer", "tilesift/1/drone-1/want"]
    here.take(*((name, b"x") for name in names))
    assert [row.topic for row in here.query("SELECT topic FROM quarantine ORDER BY id")] == names


def test_a_chunk_for_an_unknown_sample_is_counted_and_ignored(base, describe, picture):
    """The offer was lost: the device will offer again."""
    here = base()
    assert here.take(whole(describe(picture(1)), picture(1))) == {}
    assert here.query("SELECT value FROM counters WHERE name = 'chunks_unknown'") == [(1,)]


def test_a_value_that_the_database_refuses_stops_only_its_message(base, describe, picture):
    """A constraint that one message breaks, as PostgreSQL's refusal of NUL in text does: that
    message is set aside and acknowledged, the rest of its batch is stored."""
    here = base()
    with here.metadata.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON samples WHEN NEW.survey = 'bad' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    good = describe(picture(1), payload=picture(1))
    bad = describe(picture(2), payload=picture(2), survey="bad")
    also = describe(picture(3), payload=picture(3))
    replies = here.take(offer(good), offer(bad), offer(also))
    assert {key: reply.outcome for key, reply in replies.items()} == {
        good.sample_id: "stored",
        also.sample_id: "stored",
    }
    assert here.query("SELECT error FROM quarantine") == [("refused",)]


def test_a_store_that_fails_is_tried_until_it_takes_the_message(base, describe, picture):
    """While the database fails nothing is answered or acknowledged; once it works, all is."""
    here = base()
    sample = describe(picture(1), payload=picture(1))
    with here.metadata.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE samples RENAME TO away")
    result = {}
    working = threading.Thread(target=lambda: result.update(here.take(offer(sample))))
    working.start()
    working.join(0.5)
    assert working.is_alive()
    assert here.sent == here.acknowledged == []
    with here.metadata.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO samples")
    working.join(30)
    assert result[sample.sample_id].outcome == "stored"


def test_order_of_arrival_does_not_matter_to_the_order_kept(base, describe, picture):
    """Boot and sequence are kept as sent, whatever the clock says."""
    here = base()
    for boot, sequence, when in ((2, 1, "1970-01-01T00:00:00"), (1, 5, "2099-01-01"), (1, 4, None)):
        sample = describe(
            picture(boot * 10 + sequence), boot=boot, sequence=sequence, captured_at=when
        )
        here.take(offer(sample))
    with here.metadata.reading() as connection:
        query = select(samples.c.boot, samples.c.sequence)
        rows = connection.execute(query.order_by(samples.c.boot, samples.c.sequence)).all()
    assert rows == [(1, 4), (1, 5), (2, 1)]


def test_many_answers_fill_messages_to_their_limit():
    """130 ends of one device are three receipts; the latest word on a sample is the one sent."""
    ends = [
        ("drone-1", m.Settlement(sample_id=f"{n:032x}", outcome="stored", detail="d" * 1024))
        for n in range(130)
    ]
    asked = ("drone-1", m.Answer(sample_id=f"{0:032x}", ask="later"))
    sent = list(answers([asked, *ends]))
    assert [topic.rsplit("/", 1)[1] for topic, _ in sent] == ["receipt"] * 3
    sizes = [len(codec.decode(payload, m.Receipt).settlements) for _, payload in sent]
    assert sizes == [64, 64, 2]
