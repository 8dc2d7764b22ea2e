"""The exchange against a small base over a world that loses, doubles, delays and restarts."""

from __future__ import annotations

import heapq
import itertools
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.uplink import events as e
from edge_agent.uplink.exchange import Exchange
from edge_agent.uplink.flight import MAX_PUBLISHES
from edge_agent.uplink.settings import UplinkSettings
from sync_protocol.codec import encode
from sync_protocol.messages import Chunk, Offer, Receipt, Want

CHAOS_S = 90.0
PATIENCE_S = 4000.0


@dataclass(frozen=True)
class Faults:
    """How likely each mishap is, per message or per second."""

    cut: float = 0.0
    crash: float = 0.0
    base_stop: float = 0.0
    lost_session: float = 0.0
    double: float = 0.0
    late: float = 0.0


class World:
    """One device, a broker and a base in simulated seconds."""

    def __init__(self, seed: int, faults: Faults, candidates: list[e.Candidate], base: Any) -> None:
        self.rng = random.Random(seed)
        self.faults = faults
        self.settings = UplinkSettings(offer_timeout_s=5.0, ack_timeout_s=30.0)
        self.pixels = {c.description.sample_id: c.inline or b"" for c in candidates}
        small = self.settings.inline_max_bytes
        self.outbox = {
            c.description.sample_id: replace(
                c, inline=c.inline if c.description.payload_size <= small else None
            )
            for c in candidates
        }
        self.base = base
        self.base_up = True
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.session: list[Offer | Chunk] = []  # what the broker keeps for a stopped base
        self.epoch = 0  # of the connection
        self.connected = False
        self.in_flight: dict[int, int] = {}
        self.settled: list[str] = []
        self.quarantined: dict[str, str] = {}
        self.marked: set[str] = set()
        self.crashes = self.silences = 0
        self.exchange = Exchange(self.settings)

    def run(self) -> None:
        while self.outbox and self.now < CHAOS_S + PATIENCE_S:
            chaos = self.faults if self.now < CHAOS_S else Faults()
            self.mishaps(chaos)
            if not self.connected:
                self.connected = True
                self.feed(e.Connected())
            self.now += 0.2
            while self.heap and self.heap[0][0] <= self.now:
                heapq.heappop(self.heap)[2]()
            if self.base_up:
                self.serve()
            self.feed(e.Tick())

    def mishaps(self, chaos: Faults) -> None:
        if self.rng.random() < chaos.crash * 0.2:
            self.crashes += 1
            self.lose_link()
            self.exchange = Exchange(self.settings)
            self.marked.clear()
        elif self.connected and self.rng.random() < chaos.cut * 0.2:
            self.lose_link()
            self.feed(e.Disconnected())
        if self.base_up and self.rng.random() < chaos.base_stop * 0.2:
            self.base_up = False
            self.silences += 1
            self.after(self.rng.uniform(1.0, 40.0), self.start_base)
        if self.rng.random() < chaos.lost_session * 0.2:
            self.silences += 1
            self.session.clear()

    def start_base(self) -> None:
        self.base_up = True

    def lose_link(self) -> None:
        self.connected = False
        self.epoch += 1
        self.in_flight.clear()

    def serve(self) -> None:
        messages, self.session = self.session, []
        for message in messages:
            replies = (
                self.base.offer(message) if isinstance(message, Offer) else self.base.chunk(message)
            )
            for reply in replies:
                self.deliver(reply)
                if self.rng.random() < self.chaos().double:
                    self.deliver(reply)

    def chaos(self) -> Faults:
        return self.faults if self.now < CHAOS_S else Faults()

    def deliver(self, reply: Want | Receipt) -> None:
        epoch = self.epoch

        def arrive() -> None:
            if self.connected and self.epoch == epoch:
                wanted = isinstance(reply, Want)
                self.feed(e.WantReceived(reply) if wanted else e.ReceiptReceived(reply))

        self.after(self.delay(), arrive)

    def delay(self) -> float:
        late = self.rng.random() < self.chaos().late
        return self.rng.uniform(0.02, 8.0 if late else 0.3)

    def after(self, wait_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.heap, (self.now + wait_s, next(self.order), call))

    def feed(self, event: e.Event) -> None:
        actions = self.exchange.handle(event, self.now)
        for action in actions:
            self.act(action)

    def act(self, action: e.Action) -> None:  # noqa: C901 (one case for each action)
        match action:
            case e.FetchSamples(limit, excluding):
                waiting = [c for key, c in self.outbox.items() if key not in excluding]
                waiting.sort(key=lambda c: -c.priority)
                self.feed(e.SamplesFetched(tuple(waiting[:limit]), limit))
            case e.MarkAttempts(missing):
                self.marked.update(missing)
                self.add_attempts(tuple(missing), 1)
                for key, size in missing.items():
                    self.outbox[key] = replace(self.outbox[key], missing=size)
            case e.RefundAttempts(ids):
                self.add_attempts(ids, -1)
            case e.PublishOffer(token, offer):
                for one in offer.samples:
                    assert one.payload is None or one.sample_id in self.marked
                self.publish(token, offer, len(encode(offer)))
            case e.PublishChunk():
                self.publish_chunk(action)
            case e.Settle(settlements):
                for one in settlements:
                    if self.outbox.pop(one.sample_id, None) is not None:
                        self.settled.append(one.sample_id)
            case e.Quarantine(sample_id, reason):
                self.outbox.pop(sample_id)
                self.quarantined[sample_id] = reason
            case e.DropLink():
                self.lose_link()
                self.feed(e.Disconnected())

    def add_attempts(self, ids: tuple[str, ...], change: int) -> None:
        for key in ids:
            sample = self.outbox[key]
            assert sample.attempts + change >= 0
            self.outbox[key] = replace(sample, attempts=sample.attempts + change)

    def publish_chunk(self, action: e.PublishChunk) -> None:
        key = action.description.sample_id
        assert key not in self.settled, "pixels sent for a sample already settled"
        assert key in self.marked, "pixels sent before the attempt was persisted"
        data = self.pixels[key][action.offset : action.end]
        chunk = Chunk(
            sample_id=key,
            payload_sha256=action.description.payload_sha256,
            payload_size=action.description.payload_size,
            offset=action.offset,
            crc32=zlib.crc32(data),
            data=data,
        )
        encode(chunk)
        self.publish(action.token, chunk, len(data))

    def publish(self, token: int, message: Offer | Chunk, size: int) -> None:
        assert self.connected, "handed to a link that is not there"
        window = self.settings.window * self.exchange.chunk_bytes
        assert not self.in_flight or sum(self.in_flight.values()) + size <= window
        self.in_flight[token] = size
        assert len(self.in_flight) <= MAX_PUBLISHES
        epoch = self.epoch

        def reach_broker() -> None:
            if self.epoch != epoch:
                return  # lost with the link
            self.session.append(message)
            self.after(self.rng.uniform(0.0, 0.2), acknowledge)

        def acknowledge() -> None:
            if self.epoch == epoch:
                self.in_flight.pop(token)
                self.feed(e.PublishAcknowledged(token))

        self.after(self.rng.uniform(0.05, 0.6), reach_broker)


SIZES = st.lists(st.integers(1, 150_000), min_size=1, max_size=25)
LITTLE = st.sampled_from([0.0, 0.05, 0.5])
FAULTS = st.builds(
    Faults,
    cut=LITTLE,
    crash=LITTLE,
    base_stop=LITTLE,
    lost_session=LITTLE,
    double=LITTLE,
    late=LITTLE,
)


@pytest.fixture(scope="session")
def make_world(candidate: Callable[..., e.Candidate], fake_base: type) -> Callable[..., World]:
    def make(seed: int, faults: Faults, sizes: list[int]) -> World:
        candidates = [
            candidate(number, size, inline=True) for number, size in enumerate(sizes, start=1)
        ]
        return World(seed, faults, candidates, fake_base())

    return make


@given(seed=st.integers(0, 2**32), faults=FAULTS, sizes=SIZES)
@settings(deadline=None, max_examples=150)
def test_every_sample_ends_settled_exactly_once(
    make_world: Callable[..., World], seed: int, faults: Faults, sizes: list[int]
) -> None:
    """Whatever is lost, doubled, late or restarted: all is settled once, within the window."""
    world = make_world(seed, faults, sizes)
    world.run()
    assert not world.outbox
    assert len(world.settled) == len(set(world.settled))
    assert sorted([*world.settled, *world.quarantined]) == sorted(world.pixels)
    for key in world.settled:
        assert world.base.stored[key] == world.pixels[key]
    # A strike takes a dead process or a silent base; a poor link alone sets nothing aside.
    if world.crashes + world.silences < world.settings.max_attempts:
        assert not world.quarantined


@given(seed=st.integers(0, 2**32), sizes=SIZES)
@settings(deadline=None, max_examples=50)
def test_a_poor_link_alone_sets_nothing_aside(
    make_world: Callable[..., World], seed: int, sizes: list[int]
) -> None:
    """A link that breaks every other second delays samples, but never brings them to quarantine."""
    world = make_world(seed, Faults(cut=0.5, double=0.1), sizes)
    world.run()
    assert not world.outbox
    assert not world.quarantined


def test_a_quiet_world_sends_every_byte_once(make_world: Callable[..., World]) -> None:
    """Without mishaps each payload travels exactly once, in chunks or inline."""
    sizes = [500, 1500, 9_000, 70_000, 150_000]
    world = make_world(1, Faults(), sizes)
    world.run()
    assert world.base.chunk_bytes + world.base.inline_bytes == sum(sizes)
    assert world.base.repeated_bytes == 0
    assert len(world.settled) == len(sizes)
