"""Whatever the order, repetition and restarts: each sample is stored exactly once, bit by bit."""

from __future__ import annotations

import hashlib
import queue
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from server_sync.intake.apply import Intake
from server_sync.intake.inbox import Inbound
from server_sync.intake.ingest import Worker
from server_sync.settings import IntakeSettings
from server_sync.store.blobs import BlobFolder
from server_sync.store.metadata import open_metadata
from server_sync.store.schema import parts, pictures, quarantine, samples
from sync_protocol import codec, topics
from sync_protocol import messages as m

SETTINGS = IntakeSettings(damaged_attempts=100, near_duplicate_bits=-1)
DEVICES = ("drone-1", "drone-2")
PAYLOADS = 3


class PowerCutError(BaseException):
    """The machine stops here."""


class FragileBlobs(BlobFolder):
    """A blob folder of a machine that may lose power once blobs are written: before they are
    durable, or after that and before the commit."""

    cut = False
    early = False

    def flush(self):
        if self.cut and self.early:
            raise PowerCutError
        super().flush()
        if self.cut:
            raise PowerCutError


class Base:
    """The base on its folder; `restart` leaves nothing but the folder."""

    def __init__(self, folder):
        self.folder = folder
        self.told = {}
        self.wanted = {}
        self.acknowledged = []
        self.deaf = False
        """The way back to the devices is cut: answers are lost."""
        self.restart()

    def restart(self):
        if hasattr(self, "metadata"):
            self.metadata.close()
        self.metadata = open_metadata(f"sqlite:///{self.folder}/curation.db")
        self.blobs = FragileBlobs(self.folder / "blobs")
        intake = Intake(SETTINGS, self.blobs)
        self.worker = Worker(
            queue.Queue(), self, self.metadata, intake, self.blobs,
            batch_messages=8, min_free_bytes=0,
        )  # fmt: skip

    def take(self, messages):
        """Process a batch; the messages must be acknowledged exactly then."""
        batch = [
            Inbound(topic, payload, 1, mid, 1) for mid, (topic, payload) in enumerate(messages)
        ]
        self.acknowledged.clear()
        assert self.worker.process(batch)
        assert self.acknowledged == batch

    def publish(self, topic, payload):
        if self.deaf:
            return False
        parsed = topics.parse(topic)
        if parsed.kind is topics.Kind.WANT:
            for answer in codec.decode(payload, m.Want).answers:
                self.wanted[parsed.device, answer.sample_id] = answer.missing
            return True
        for settlement in codec.decode(payload, m.Receipt).settlements:
            key = (parsed.device, settlement.sample_id)
            # A receipt speaks of what is committed, and never says otherwise later.
            assert self.state(key) == settlement.outcome
            assert self.told.setdefault(key, settlement.outcome) == settlement.outcome
        return True

    def acknowledge(self, message):
        self.acknowledged.append(message)

    def state(self, key):
        with self.metadata.reading() as connection:
            query = select(samples.c.state).where(
                samples.c.device == key[0], samples.c.sample_id == key[1]
            )
            return connection.execute(query).scalar_one_or_none()


def chunk_of(sample, payload, start, length, *, damage):
    data = payload[start : start + length]
    crc = zlib.crc32(data)
    if damage == "on the way":
        data = bytes([data[0] ^ 1]) + data[1:]
    if damage == "before the checksum":
        data = bytes([data[0] ^ 1]) + data[1:]
        crc = zlib.crc32(data)
    return m.Chunk(
        sample_id=sample.sample_id,
        payload_sha256=sample.payload_sha256,
        payload_size=len(payload),
        offset=start,
        crc32=crc,
        data=data,
    )


@pytest.fixture(scope="module")
def world(picture, describe):
    """Six samples of two devices over three payloads: (device, description, payload)."""
    payloads = [picture(seed, size=10 + seed) for seed in range(PAYLOADS)]
    return [
        (device, describe(payload, sample_id=f"{number:032x}", sequence=number), payload)
        for number, (device, payload) in enumerate(
            (device, payload) for device in DEVICES for payload in payloads
        )
    ]


indices = st.integers(0, len(DEVICES) * PAYLOADS - 1)
chunk = st.tuples(
    st.just("chunk"),
    indices,
    st.floats(0, 0.999),
    st.integers(1, 400),
    st.sampled_from(["no", "no", "no", "on the way", "before the checksum"]),
)
offer = st.tuples(st.just("offer"), st.sets(indices, min_size=1), st.booleans())
batch = st.tuples(st.just("batch"), st.lists(chunk | offer, min_size=1, max_size=6))
step = (
    batch
    | st.tuples(st.just("restart"))
    | st.tuples(st.just("cut"), chunk | offer, st.booleans())
    | st.tuples(st.just("deaf"), chunk | offer)
)


def messages_of(world, action):
    if action[0] == "chunk":
        _, index, where, length, damage = action
        device, sample, payload = world[index]
        start = int(where * len(payload))
        piece = chunk_of(sample, payload, start, length, damage=damage)
        return [(topics.build(device, topics.Kind.CHUNK), codec.encode(piece))]
    result = []
    for device in DEVICES:
        chosen = [world[i] for i in sorted(action[1]) if world[i][0] == device]
        offered = tuple(
            _with_payload(sample, payload) if action[2] else sample for _, sample, payload in chosen
        )
        if offered:
            message = codec.encode(m.Offer(samples=offered))
            result.append((topics.build(device, topics.Kind.OFFER), message))
    return result


def _with_payload(sample, payload):
    fields = {name: getattr(sample, name) for name in sample.__struct_fields__}
    return m.SampleDescription(**(fields | {"payload": payload}))


def run(base, world, steps):
    for action in steps:
        if action[0] == "restart":
            base.restart()
        elif action[0] == "cut":
            base.blobs.cut, base.blobs.early = True, action[2]
            try:
                base.take(messages_of(world, action[1]))
            except PowerCutError:
                base.restart()
            base.blobs.cut = False
        elif action[0] == "deaf":
            base.deaf = True
            base.take(messages_of(world, action[1]))
            base.deaf = False
        else:
            base.take([pair for part in action[1] for pair in messages_of(world, part)])


def drain(base, world):
    """Honest devices: offer what has no receipt, send what is wanted."""
    for _ in range(8):
        waiting = [
            i for i, (device, s, _) in enumerate(world) if (device, s.sample_id) not in base.told
        ]
        if not waiting:
            return
        base.wanted.clear()
        base.take(messages_of(world, ("offer", set(waiting), False)))
        for device, sample, payload in world:
            for part in base.wanted.get((device, sample.sample_id), ()):
                length = part.end - part.offset
                piece = chunk_of(sample, payload, part.offset, length, damage="no")
                base.take([(topics.build(device, topics.Kind.CHUNK), codec.encode(piece))])
    raise AssertionError("samples are left without a receipt")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(step, max_size=10))
@example(steps=[("batch", [("offer", {0, 3}, False)]), ("cut", ("offer", {0}, True), True)])
@example(
    steps=[
        (
            "batch",
            [("offer", {0}, False), ("chunk", 0, 0.0, 100, "no"), ("chunk", 0, 0.0, 200, "no")],
        )
    ]
)
@example(steps=[("cut", ("offer", {0, 1}, True), False)])
@example(steps=[("deaf", ("offer", {0, 1, 4}, True))])
@example(
    steps=[
        ("batch", [("offer", {0}, False), ("chunk", 0, 0.0, 400, "before the checksum")]),
        ("restart",),
        ("batch", [("chunk", 0, 0.5, 400, "no"), ("chunk", 0, 0.0, 400, "no")]),
    ]
)
def test_every_sample_is_stored_exactly_once(world, steps):
    """Offers and chunks of two devices, repeated, reordered, damaged, with restarts, power cuts and
    lost answers between: each sample ends stored once (or as the twin of one), its bytes are those
    sent, no part is left over and no receipt ever came before its commit."""
    with tempfile.TemporaryDirectory() as name:
        base = Base(Path(name))
        try:
            run(base, world, steps)
            drain(base, world)
            check(base, world)
        finally:
            base.metadata.close()


def check(base, world):
    with base.metadata.reading() as connection:
        rows = connection.execute(select(samples)).all()
        held = connection.execute(select(pictures.c.sha256)).scalars().all()
        left = connection.execute(select(parts)).all()
        refused = connection.execute(select(quarantine)).all()
    assert len(rows) == len(world)
    assert sorted(held) == sorted({hashlib.sha256(payload).hexdigest() for _, _, payload in world})
    assert left == []
    assert refused == []
    by_key = {(row.device, row.sample_id): row for row in rows}
    for device, sample, payload in world:
        row = by_key[device, sample.sample_id]
        assert row.state in ("stored", "duplicate")
        assert base.blobs.get(row.payload_sha256) == payload
    files = [path for path in (base.folder / "blobs").rglob("*") if path.is_file()]
    assert len(files) == PAYLOADS
