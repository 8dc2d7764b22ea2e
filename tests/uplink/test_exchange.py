"""The exchange step by step: what it does about each thing that can happen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec
import pytest

from edge_agent.uplink import events as e
from edge_agent.uplink.exchange import Exchange
from edge_agent.uplink.settings import UplinkSettings
from sync_protocol.messages import Answer, ByteRange, Receipt, Settlement, Want

Make = Callable[..., e.Candidate]


class Device:
    """An exchange with its outbox, driven by hand."""

    def __init__(self, candidates: Iterable[e.Candidate], **settings: object) -> None:
        self.settings = msgspec.structs.replace(UplinkSettings(), **settings)
        self.exchange = Exchange(self.settings)
        self.outbox = {c.description.sample_id: c for c in candidates}
        self.now = 0.0
        self.unacknowledged: list[int] = []

    def feed(self, event: e.Event) -> list[e.Action]:
        """Everything that follows from `event`; fetches are answered, attempts kept."""
        done: list[e.Action] = []
        for action in self.exchange.handle(event, self.now):
            done.append(action)
            match action:
                case e.FetchSamples(limit, excluding):
                    waiting = [c for key, c in self.outbox.items() if key not in excluding]
                    waiting.sort(key=lambda c: -c.priority)
                    done += self.feed(e.SamplesFetched(tuple(waiting[:limit]), limit))
                case e.MarkAttempts(missing):
                    for key, size in missing.items():
                        self._count(key, 1, size)
                case e.RefundAttempts(ids):
                    for key in ids:
                        self._count(key, -1, self.outbox[key].missing)
                case e.PublishOffer(token) | e.PublishChunk(token):
                    self.unacknowledged.append(token)
                case e.Settle(settlements):
                    for one in settlements:
                        self.outbox.pop(one.sample_id, None)
                case e.Quarantine(sample_id):
                    self.outbox.pop(sample_id)
        return done

    def acknowledge(self) -> list[e.Action]:
        """The broker has all of it, and all that follows."""
        done: list[e.Action] = []
        while self.unacknowledged:
            done += self.feed(e.PublishAcknowledged(self.unacknowledged.pop(0)))
        return done

    def later(self, seconds: float) -> list[e.Action]:
        self.now += seconds
        return self.feed(e.Tick())

    def restart(self) -> None:
        self.exchange = Exchange(self.settings)
        self.unacknowledged.clear()

    def cut(self) -> list[e.Action]:
        self.unacknowledged.clear()
        return self.feed(e.Disconnected())

    def attempts(self, number: int) -> int:
        return self.outbox[f"{number:032x}"].attempts

    def _count(self, key: str, change: int, missing: int | None) -> None:
        old = self.outbox[key]
        self.outbox[key] = replace(old, attempts=old.attempts + change, missing=missing)


def key(number: int) -> str:
    return f"{number:032x}"


def want(number: int, *spans: tuple[int, int]) -> e.WantReceived:
    missing = tuple(ByteRange(offset=offset, end=end) for offset, end in spans)
    answer = Answer(sample_id=key(number), ask="want", missing=missing)
    return e.WantReceived(Want(answers=(answer,)))


def later(number: int, retry_after_s: float | None) -> e.WantReceived:
    answer = Answer(sample_id=key(number), ask="later", retry_after_s=retry_after_s)
    return e.WantReceived(Want(answers=(answer,)))


def receipt(number: int, outcome: str = "stored") -> e.ReceiptReceived:
    return e.ReceiptReceived(
        Receipt(settlements=(Settlement(sample_id=key(number), outcome=outcome),))
    )


def offered(actions: Iterable[e.Action]) -> list[str]:
    return [
        sample.sample_id
        for action in actions
        if isinstance(action, e.PublishOffer)
        for sample in action.offer.samples
    ]


def sent(actions: Iterable[e.Action]) -> list[tuple[str, int, int]]:
    return [
        (action.description.sample_id, action.offset, action.end)
        for action in actions
        if isinstance(action, e.PublishChunk)
    ]


def test_offers_the_most_valuable_first(candidate: Make) -> None:
    """The order of an offer is that of the queue."""
    device = Device([candidate(3), candidate(1), candidate(2)])
    assert offered(device.feed(e.Connected())) == [key(1), key(2), key(3)]


def test_sends_the_most_valuable_first(candidate: Make) -> None:
    """Of several wanted samples the one of highest priority goes first, whenever it was wanted."""
    device = Device([candidate(1), candidate(2)], window=1, chunk_bytes=24 * 1024)
    device.feed(e.Connected())
    device.acknowledge()
    assert sent(device.feed(want(2, (0, 20_000)))) == [(key(2), 0, 20_000)]
    assert sent(device.feed(want(1, (0, 20_000)))) == []
    assert sent(device.acknowledge()) == [(key(1), 0, 20_000)]


def test_attempt_is_persisted_before_pixels_leave(candidate: Make) -> None:
    """A crash while sending must count: the attempt stands in the outbox first."""
    device = Device([candidate(1)])
    device.feed(e.Connected())
    device.acknowledge()
    actions = device.feed(want(1, (0, 20_000)))
    assert actions[0] == e.MarkAttempts({key(1): 20_000})
    assert sent(actions[1:]) == [(key(1), 0, 20_000)]


def test_missing_ranges_go_out_in_order_and_once(candidate: Make) -> None:
    """Overlapping, unordered and overlong ranges cost no byte twice and none beyond the end."""
    device = Device([candidate(1, 20_000)])
    device.feed(e.Connected())
    device.acknowledge()
    actions = device.feed(want(1, (15_000, 90_000), (0, 10), (5, 100), (50, 60), (16_000, 18_000)))
    assert sent(actions) == [(key(1), 0, 100), (key(1), 15_000, 20_000)]


def test_doubled_want_sends_nothing_twice(candidate: Make) -> None:
    """A want that comes twice, as QoS 1 allows, is answered once."""
    device = Device([candidate(1)])
    device.feed(e.Connected())
    device.acknowledge()
    device.feed(want(1, (0, 20_000)))
    assert sent(device.feed(want(1, (0, 20_000)))) == []
    device.acknowledge()
    assert sent(device.feed(want(1, (0, 20_000)))) == []


def test_base_may_ask_again_for_what_got_lost(candidate: Make) -> None:
    """A second want that lacks less than the first is news, and costs no further attempt."""
    device = Device([candidate(1)])
    device.feed(e.Connected())
    device.acknowledge()
    device.feed(want(1, (0, 20_000)))
    device.acknowledge()
    assert sent(device.feed(want(1, (500, 700)))) == [(key(1), 500, 700)]
    assert device.attempts(1) == 1


def test_later_is_honoured(candidate: Make) -> None:
    """A sample that base puts off is offered again when base said, not before."""
    device = Device([candidate(1)])
    device.feed(e.Connected())
    device.acknowledge()
    device.feed(later(1, 60.0))
    assert not any(offered(device.later(1.0)) for _ in range(58))
    assert offered(device.later(3.0)) == [key(1)]


def test_receipt_stops_the_sending(candidate: Make) -> None:
    """Pixels that base no longer needs stay on the device, and the sample leaves the outbox."""
    device = Device([candidate(1, 500_000)])
    device.feed(e.Connected())
    device.acknowledge()
    assert len(sent(device.feed(want(1, (0, 500_000))))) == 2
    actions = device.feed(receipt(1, "duplicate"))
    assert any(isinstance(action, e.Settle) for action in actions)
    assert sent(device.acknowledge()) == []
    assert not device.outbox


def test_receipt_for_a_sample_not_in_hand_settles_it(candidate: Make) -> None:
    """A receipt may come late, after a reconnect: it is carried out all the same."""
    device = Device([])
    device.feed(e.Connected())
    actions = device.feed(receipt(9))
    assert e.Settle((Settlement(sample_id=key(9), outcome="stored"),)) in actions


def test_acknowledged_is_not_settled(candidate: Make) -> None:
    """The broker's acknowledgement paces, it never takes a sample out of the outbox."""
    device = Device([candidate(1)])
    device.feed(e.Connected())
    device.acknowledge()
    device.feed(want(1, (0, 20_000)))
    actions = device.acknowledge()
    assert not any(isinstance(action, e.Settle | e.Quarantine) for action in actions)
    assert device.outbox


def test_small_payload_travels_inline_once_base_has_spoken(candidate: Make) -> None:
    """Inline pixels are an attempt, so they are not spent on a base that may be absent."""
    device = Device([candidate(1, 900, inline=True), candidate(2, 900, inline=True)])
    actions = device.feed(e.Connected())
    assert [
        s.payload for a in actions if isinstance(a, e.PublishOffer) for s in a.offer.samples
    ] == [
        None,
        None,
    ]
    device.acknowledge()
    device.feed(receipt(2))
    device.feed(receipt(1))
    device.outbox[key(3)] = candidate(3, 900, inline=True)
    actions = device.later(2.0)
    [offer] = [action.offer for action in actions if isinstance(action, e.PublishOffer)]
    assert offer.samples[0].payload == device.outbox[key(3)].inline
    assert actions.index(e.MarkAttempts({key(3): 900})) < len(actions) - 1
    assert device.attempts(3) == 1


def test_lost_link_refunds_the_attempt(candidate: Make) -> None:
    """Being cut off is not the sample's fault, and what base has got need not be sent again."""
    device = Device([candidate(1, 100_000)])
    for _ in range(10):
        device.feed(e.Connected())
        device.acknowledge()
        device.feed(want(1, (0, 100_000)))
        assert device.attempts(1) == 1
        assert e.RefundAttempts((key(1),)) in device.cut()
        assert device.attempts(1) == 0
        device.now += 60.0
    device.feed(e.Connected())
    device.acknowledge()
    actions = device.feed(want(1, (90_000, 100_000)))
    assert sent(actions) == [(key(1), 90_000, 98_192), (key(1), 98_192, 100_000)]  # 8 KiB by now


def carry(
    device: Device, actions: list[e.Action], reply: Callable[[str, bool], e.Event | None]
) -> list[tuple[str, bool]]:
    """Let every message arrive and be answered by `reply(sample id, were pixels sent)`.

    Stops where `reply` answers `Disconnected`. Returns what was sent, in order.
    """
    log: list[tuple[str, bool]] = []
    waiting = deque(actions)
    while waiting:
        action = waiting.popleft()
        if not isinstance(action, e.PublishOffer | e.PublishChunk):
            continue
        pixels = isinstance(action, e.PublishChunk)
        ids = [one for one, _, _ in sent([action])] if pixels else offered([action])
        log += [(sample_id, pixels) for sample_id in ids]
        events = [reply(sample_id, pixels) for sample_id in ids]
        if any(isinstance(event, e.Disconnected) for event in events):
            device.cut()
            return log
        device.unacknowledged.remove(action.token)
        waiting += device.feed(e.PublishAcknowledged(action.token))
        for event in events:
            waiting += device.feed(event) if event is not None else []
    return log


def test_a_link_that_always_breaks_on_one_sample_convicts_it(candidate: Make) -> None:
    """A sample that makes the broker hang up lets the others pass, and is set aside at last."""
    device = Device([candidate(number) for number in range(1, 10)])

    def reply(sample_id: str, pixels: bool) -> e.Event:
        number = int(sample_id, 16)
        if not pixels:
            return want(number, (0, 20_000))
        return e.Disconnected() if number == 1 else receipt(number)

    breaks = 0
    for connection in range(12):
        device.outbox[key(10 + connection)] = candidate(10 + connection)
        device.now += 60.0
        log = carry(device, device.feed(e.Connected()), reply)
        breaks += (key(1), True) in log
    assert not device.outbox
    assert 3 < breaks < 10


def test_three_crashes_send_a_sample_to_quarantine(candidate: Make) -> None:
    """A process that dies three times over one sample does not die a fourth time."""
    device = Device([candidate(1)])
    for crashes in range(3):
        assert device.attempts(1) == crashes
        device.feed(e.Connected())
        device.acknowledge()
        assert sent(device.feed(want(1, (0, 20_000))))
        device.restart()
    assert offered(device.feed(e.Connected())) == [key(1)]
    device.acknowledge()
    actions = device.feed(want(1, (0, 20_000)))
    assert sent(actions) == []
    assert any(isinstance(action, e.Quarantine) for action in actions)


def test_used_up_sample_that_base_knows_is_settled(candidate: Make) -> None:
    """Even after the last strike the sample is offered: base may have it by now."""
    device = Device([candidate(1, attempts=3)])
    assert offered(device.feed(e.Connected())) == [key(1)]
    device.feed(receipt(1, "duplicate"))
    assert not device.outbox


def test_progress_at_base_excuses_a_crash(candidate: Make) -> None:
    """Power cuts during one long transfer are no strikes as long as base gets more each time."""
    device = Device([candidate(1, 100_000)])
    for part in range(8):
        device.feed(e.Connected())
        device.acknowledge()
        assert sent(device.feed(want(1, (part * 10_000, 100_000))))
        device.restart()
    assert device.attempts(1) <= 2


def test_last_attempt_is_made_last(candidate: Make) -> None:
    """A sample with one strike left goes when the others are through, whatever its value."""
    device = Device([candidate(1, attempts=2), candidate(2), candidate(3)])
    log = carry(
        device,
        device.feed(e.Connected()),
        lambda sample_id, pixels: None if pixels else want(int(sample_id, 16), (0, 20_000)),
    )
    assert [sample_id for sample_id, pixels in log if pixels] == [key(2), key(3), key(1)]


def test_a_suspect_waits_for_an_empty_wire(candidate: Make) -> None:
    """While others are unacknowledged a suspect is not sent, nor are others while it is."""
    device = Device([candidate(1, attempts=2), candidate(2), candidate(3)])
    device.feed(e.Connected())
    device.acknowledge()
    device.feed(want(1, (0, 20_000)))
    device.feed(receipt(3))
    assert sent(device.feed(want(2, (0, 20_000)))) == [(key(2), 0, 20_000)]
    token = device.unacknowledged.pop()
    assert sent(device.feed(e.PublishAcknowledged(token))) == [(key(1), 0, 20_000)]
    device.outbox[key(4)] = candidate(4)
    device.later(2.0)
    assert sent(device.feed(want(4, (0, 20_000)))) == []
    assert sent(device.acknowledge()) == [(key(4), 0, 20_000)]


def test_a_silent_base_is_probed_more_and_more_rarely(candidate: Make) -> None:
    """An absent base costs few bytes and no strikes, and its first word starts all again."""
    device = Device([candidate(number) for number in range(1, 40)])
    device.feed(e.Connected())
    device.acknowledge()
    probes = []
    for _ in range(3600):
        ids = offered(device.later(1.0))
        device.acknowledge()
        if ids:
            probes.append((device.now, len(ids)))
    assert all(count == 1 for _, count in probes)
    assert 10 <= len(probes) <= 25
    assert all(sample.attempts == 0 for sample in device.outbox.values())


def test_the_first_word_after_a_silence_starts_all_again(candidate: Make) -> None:
    """Samples that were probed for base in vain do not rest on when it is back."""
    device = Device([candidate(number) for number in range(1, 21)])
    device.feed(e.Connected())
    for _ in range(600):
        device.acknowledge()
        device.later(1.0)
    actions = device.feed(receipt(20))
    device.acknowledge()
    for number in range(1, 20):
        if key(number) in device.outbox:
            actions += device.feed(want(number, (0, 1)))
    actions += device.later(2.0)
    assert {*offered(actions), *(one for one, _, _ in sent(actions))} == set(device.outbox)


def test_a_new_connection_forgets_the_silence(candidate: Make) -> None:
    """Another broker, another chance: the first offer of a connection is a full one."""
    device = Device([candidate(number) for number in range(1, 11)])
    device.feed(e.Connected())
    device.acknowledge()
    for _ in range(40):
        device.later(1.0)
        device.acknowledge()
    device.cut()
    device.later(300.0)
    assert len(offered(device.feed(e.Connected()))) == 10


def test_late_acknowledgements_belong_to_what_they_were_for(candidate: Make) -> None:
    """A sample put back and offered anew is not held up by the old chunks' acknowledgements."""
    device = Device([candidate(1, 900_000), candidate(2, 8_000)], window=2, chunk_bytes=8192)
    device.feed(e.Connected())
    device.acknowledge()
    device.feed(want(2, (0, 20_000)))
    device.acknowledge()
    assert len(sent(device.feed(want(1, (0, 900_000))))) == 2
    device.later(16.0)  # base is silent about 2: 1 is put back, two of its chunks on their way
    old = device.unacknowledged.pop()
    actions = device.feed(e.PublishAcknowledged(device.unacknowledged.pop()))
    assert offered(actions) == [key(1)]
    device.feed(e.PublishAcknowledged(old))
    device.acknowledge()
    actions = []
    for _ in range(120):
        actions += device.later(1.0) + device.acknowledge()
    assert key(1) in offered(actions)


@pytest.mark.parametrize("size", [1, 24_575, 24_576, 24_577, 49_152, 49_153])
def test_chunks_cover_the_payload(candidate: Make, size: int) -> None:
    """Around every boundary the pieces follow each other and end with the last byte."""
    device = Device([candidate(1, size)], chunk_bytes=24_576, window=8)
    device.feed(e.Connected())
    actions = device.feed(want(1, (0, size)))
    ends = [0, *(end for _, _, end in sent(actions))]
    assert [offset for _, offset, _ in sent(actions)] == ends[:-1]
    assert ends[-1] == size


def test_silence_holds_pixels_back(candidate: Make) -> None:
    """When base stops answering, wanted pixels are not thrown after it."""
    device = Device([candidate(1, 500_000), candidate(2)], window=1, chunk_bytes=64 * 1024)
    device.feed(e.Connected())
    device.acknowledge()
    device.feed(want(2, (0, 20_000)))
    device.acknowledge()
    device.feed(want(1, (0, 500_000)))
    device.later(16.0)
    assert device.attempts(1) == 0
    assert sent(device.acknowledge()) == []


def test_a_sample_that_base_passes_over_is_set_aside(candidate: Make) -> None:
    """Base answers all others, never this one: after three such offers it is out of the way."""
    device = Device([candidate(1), candidate(2)])

    def reply(sample_id: str, _pixels: bool) -> e.Event | None:
        return None if sample_id == key(1) else receipt(int(sample_id, 16))

    log = carry(device, device.feed(e.Connected()), reply)
    for number in range(3, 100):
        device.outbox[key(number)] = candidate(number)
        log += carry(device, device.later(4.0), reply)
    assert set(device.outbox) <= {key(99)}
    assert log.count((key(1), False)) == 3


def test_a_broker_that_acknowledges_nothing_is_left(candidate: Make) -> None:
    """A connection that takes bytes and never acknowledges is dropped."""
    device = Device([candidate(1)], ack_timeout_s=20.0)
    device.feed(e.Connected())
    assert not any(isinstance(action, e.DropLink) for action in device.later(19.0))
    assert any(isinstance(action, e.DropLink) for action in device.later(2.0))


@pytest.mark.parametrize("reason", ["the stored pixels do not match their checksum", None])
def test_unusable_pixels_let_the_others_pass(candidate: Make, reason: str | None) -> None:
    """Damaged pixels go to quarantine, vanished ones are forgotten; the window is free again."""
    device = Device([candidate(1), candidate(2)], window=1)
    device.feed(e.Connected())
    device.acknowledge()
    device.feed(want(2, (0, 20_000)))
    device.acknowledge()
    [chunk] = [a for a in device.feed(want(1, (0, 20_000))) if isinstance(a, e.PublishChunk)]
    actions = device.feed(e.PayloadUnusable(key(1), chunk.token, reason))
    quarantined = [a.reason for a in actions if isinstance(a, e.Quarantine)]
    assert quarantined == ([] if reason is None else [reason])
    device.feed(receipt(2))
    assert device.exchange.in_hand <= 1


def test_a_sample_no_offer_can_hold_is_set_aside(candidate: Make) -> None:
    """A description beyond the contract neither blocks the queue nor leaves the device."""
    bad = candidate(1)
    bad = replace(
        bad, description=msgspec.structs.replace(bad.description, scores={"entropy": float("nan")})
    )
    device = Device([bad, candidate(2)])
    actions = device.feed(e.Connected())
    assert offered(actions) == [key(2)]
    assert [a.sample_id for a in actions if isinstance(a, e.Quarantine)] == [key(1)]
