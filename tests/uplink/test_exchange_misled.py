"""The exchange against a base that answers, but leads nowhere: it costs neither queue nor link."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_agent.uplink import events as e
from edge_agent.uplink.exchange import Exchange
from edge_agent.uplink.settings import UplinkSettings
from sync_protocol.messages import (
    OFFER_MAX_SAMPLES,
    Answer,
    ByteRange,
    Receipt,
    SampleDescription,
    Settlement,
    Want,
)

Make = Callable[..., e.Candidate]
Reply = Callable[[SampleDescription, int], Answer | None]
"""A sample and the end of the bytes just sent of it, 0 for an offer; None settles the sample."""

ROUND_TRIP_S = 0.05


class World:
    """A perfect link to a base that answers each message by `reply`."""

    def __init__(self, candidates: list[e.Candidate], reply: Reply) -> None:
        self.outbox = {one.description.sample_id: one for one in candidates}
        self.reply = reply
        self.exchange = Exchange(UplinkSettings())
        self.now = 0.0
        self.offers: dict[str, int] = defaultdict(int)
        self.sent: dict[str, int] = defaultdict(int)
        self.quarantined: dict[str, str] = {}

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        events: deque[e.Event] = deque([e.Connected()])
        while self.now < end and self.outbox:
            self.now += ROUND_TRIP_S if events else 1.0
            batch = [*events, e.Tick()]
            events.clear()
            for event in batch:
                self.feed(event, events)

    def feed(self, event: e.Event, heard: deque[e.Event]) -> None:  # noqa: C901 (one case each)
        for action in self.exchange.handle(event, self.now):
            match action:
                case e.FetchSamples(limit, excluding):
                    rows = [one for key, one in self.outbox.items() if key not in excluding]
                    rows.sort(key=lambda one: -one.priority)
                    self.feed(e.SamplesFetched(tuple(rows[:limit]), limit), heard)
                case e.MarkAttempts(missing):
                    for key, size in missing.items():
                        self.change(key, 1, size)
                case e.RefundAttempts(ids):
                    for key in ids:
                        self.change(key, -1, self.outbox[key].missing)
                case e.PublishOffer(token, offer):
                    heard.append(e.PublishAcknowledged(token))
                    for one in offer.samples:
                        self.offers[one.sample_id] += 1
                        self.sent[one.sample_id] += len(one.payload or b"")
                        heard.append(self.answer(one, 0))
                case e.PublishChunk(token, description, offset, end):
                    self.sent[description.sample_id] += end - offset
                    heard.append(e.PublishAcknowledged(token))
                    heard.append(self.answer(description, end))
                case e.Settle(settlements):
                    for settled in settlements:
                        self.outbox.pop(settled.sample_id, None)
                case e.Quarantine(sample_id, reason):
                    self.outbox.pop(sample_id)
                    self.quarantined[sample_id] = reason

    def answer(self, sample: SampleDescription, end: int) -> e.Event:
        answer = self.reply(sample, end)
        if answer is not None:
            return e.WantReceived(Want(answers=(answer,)))
        settlement = Settlement(sample_id=sample.sample_id, outcome="stored")
        return e.ReceiptReceived(Receipt(settlements=(settlement,)))

    def change(self, key: str, change: int, missing: int | None) -> None:
        old = self.outbox[key]
        self.outbox[key] = replace(old, attempts=old.attempts + change, missing=missing)


def want(sample: SampleDescription, *spans: tuple[int, int]) -> Answer:
    missing = tuple(ByteRange(offset=offset, end=end) for offset, end in spans)
    return Answer(sample_id=sample.sample_id, ask="want", missing=missing)


def later(sample: SampleDescription, wait_s: float | None) -> Answer:
    return Answer(sample_id=sample.sample_id, ask="later", retry_after_s=wait_s)


def key(number: int) -> str:
    return f"{number:032x}"


@pytest.mark.parametrize("put_off", [300, 3000])
def test_what_is_put_off_for_a_day_holds_nobody_up(candidate: Make, put_off: int) -> None:
    """Many samples put off as long as may be: the others, of less value, go within the hour."""

    def reply(sample: SampleDescription, end: int) -> Answer | None:
        return later(sample, 86400.0) if int(sample.sample_id, 16) <= put_off else None

    world = World([candidate(number, 100) for number in range(1, put_off + 101)], reply)
    world.run(3500.0)
    assert sorted(world.outbox) == [key(number) for number in range(1, put_off + 1)]
    assert not world.quarantined


def test_a_day_is_too_long_to_be_put_off(candidate: Make) -> None:
    """A base that says `later` by mistake is asked again after an hour at the latest."""
    world = World([candidate(1)], lambda sample, _end: later(sample, 86400.0))
    world.run(3500.0)
    assert world.offers[key(1)] == 1
    world.run(200.0)
    assert world.offers[key(1)] == 2


def test_a_base_that_puts_all_off_costs_few_offers(candidate: Make) -> None:
    """A full base is not offered the whole outbox at the link's speed."""
    count = 10_000
    world = World([candidate(n, 100) for n in range(1, count)], lambda s, _end: later(s, 3600.0))
    world.run(600.0)
    assert len(world.offers) <= 256 + 21 * OFFER_MAX_SAMPLES


@pytest.mark.parametrize("wait_s", [0.0, None])
def test_later_without_a_wait_is_no_busy_loop(candidate: Make, wait_s: float | None) -> None:
    """Asked for no pause, the device takes one all the same, longer from time to time."""
    world = World([candidate(1)], lambda sample, _end: later(sample, wait_s))
    world.run(3600.0)
    assert 2 <= world.offers[key(1)] <= 250
    assert not world.quarantined


@pytest.mark.parametrize("spans", [(), ((30_000, 40_000),)])
def test_a_want_of_nothing_is_no_answer(
    candidate: Make, spans: tuple[tuple[int, int], ...]
) -> None:
    """Wants without a byte of the payload are strikes, some time apart, and not offers for ever."""
    world = World([candidate(1)], lambda sample, _end: want(sample, *spans))
    world.run(20.0)
    assert world.offers[key(1)] <= 2
    world.run(3600.0)
    assert world.offers[key(1)] == 3
    assert "no bytes" in world.quarantined[key(1)]
    assert world.sent[key(1)] == 0


def test_a_byte_less_each_time_is_no_progress(candidate: Make) -> None:
    """Base asks for one byte less after each sending: a few of them, then the sample is aside."""
    lacking = defaultdict(lambda: 9_000)

    def reply(sample: SampleDescription, end: int) -> Answer:
        if end == sample.payload_size:
            lacking[sample.sample_id] -= 1
        return want(sample, (9_000 - lacking[sample.sample_id], 9_000))

    world = World([candidate(1, 9_000)], reply)
    world.run(36_000.0)
    assert key(1) in world.quarantined
    assert world.sent[key(1)] <= 5 * 9_000


def test_progress_in_small_steps_has_an_end(candidate: Make) -> None:
    """Base keeps a tenth of each sending: progress, but not at any price."""
    lacking = defaultdict(lambda: 20_000)

    def reply(sample: SampleDescription, end: int) -> Answer | None:
        if end == sample.payload_size:
            lacking[sample.sample_id] = max(lacking[sample.sample_id] - 2_000, 2_000)
        return want(sample, (20_000 - lacking[sample.sample_id], 20_000))

    world = World([candidate(1, 20_000)], reply)
    world.run(36_000.0)
    assert key(1) in world.quarantined
    assert world.sent[key(1)] <= 5 * 20_000


@pytest.mark.parametrize("size", [1_000, 9_000])
def test_put_off_after_each_sending_has_an_end(candidate: Make, size: int) -> None:
    """Base takes all the pixels, says `later` each time, and wants all of them once more."""

    def reply(sample: SampleDescription, end: int) -> Answer:
        sent_inline = sample.payload is not None
        return later(sample, 0.0) if end or sent_inline else want(sample, (0, size))

    world = World([candidate(1, size, inline=size < 2_000)], reply)
    world.run(36_000.0)
    assert key(1) in world.quarantined
    assert world.sent[key(1)] <= 5 * size
