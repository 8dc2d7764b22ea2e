"""The device's side of the exchange: events in, actions out. Pure; time is an argument.

A sample is offered, wanted, sent in chunks, and settled by base's receipt; nothing else takes
it out of the outbox. The link may break, base may fall silent or forget, messages may be lost,
doubled or late: whatever is unclear is offered again, and base answers with what it still lacks.

What a sample may cost is `strikes`' to say, whether base is there `hearing`'s.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from edge_agent.uplink import events as e
from edge_agent.uplink import ranges
from edge_agent.uplink.flight import InFlight
from edge_agent.uplink.hand import Hand, InHand, Step
from edge_agent.uplink.hearing import MAX_DOUBLINGS, Hearing
from edge_agent.uplink.history import History
from edge_agent.uplink.pacing import Pace
from edge_agent.uplink.packing import Packed, pack
from edge_agent.uplink.sending import next_chunks
from edge_agent.uplink.settings import UplinkSettings
from edge_agent.uplink.strikes import Strikes, is_progress, refund
from sync_protocol.messages import OFFER_MAX_BYTES, OFFER_MAX_SAMPLES, Answer, Offer, Receipt, Want

MAX_IN_HAND = 2 * OFFER_MAX_SAMPLES
POLL_S = 1.0
"""How often an empty outbox is looked at."""
MAX_LATER_S = 3600.0
"""The longest that base can put a sample off, whatever it says."""
_LOW_WATER_WINDOWS = 4  # offer more when fewer windows' worth of wanted bytes are left
_PUT_OFF_DOUBLINGS = 8


class Exchange:
    """The state of one device's exchange with base, over any number of connections."""

    def __init__(self, settings: UplinkSettings) -> None:
        self._settings = settings
        self._pace = Pace(settings.window, settings.chunk_bytes)
        self._flight = InFlight(self._pace)
        self._history = History()
        self._strikes = Strikes(settings.max_attempts, self._history)
        self._hearing = Hearing(settings.offer_timeout_s)
        self._hand = Hand()
        self._actions: list[e.Action] = []
        self._connected = False
        self._fetching = False

    @property
    def in_hand(self) -> int:
        """Samples offered and not yet settled or put back."""
        return len(self._hand)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of pixels in the next chunk."""
        return self._pace.chunk_bytes

    def handle(self, event: e.Event, now: float) -> list[e.Action]:
        """What to do about `event`, in order; `now` in seconds of a clock that never goes back."""
        self._actions = []
        match event:
            case e.Connected():
                self._connected = True
                self._hearing.connected()
            case e.Disconnected():
                self._disconnect()
            case e.SamplesFetched():
                self._offer(event, now)
            case e.WantReceived(want):
                self._want(want, now)
            case e.ReceiptReceived(receipt):
                self._settle(receipt, now)
            case e.PublishAcknowledged(token):
                self._acknowledge(token, now)
            case e.PayloadUnusable():
                self._give_up_payload(event)
            case e.Tick():
                pass
        if self._connected and not self._fetching:
            self._expire(now)
            self._advance(now)
        return self._actions

    # The link

    def _disconnect(self) -> None:
        self._actions += self._strikes.cut_off(self._hand)
        self._hand.clear()
        self._flight.cut_off()
        self._connected = self._fetching = False

    def _acknowledge(self, token: int, now: float) -> None:
        publish = self._flight.acknowledged(token, now)
        if publish is None:
            return
        if publish.pixels:
            self._history.delivered(publish.sample_ids[0], publish.size)
        for sample_id in publish.sample_ids:
            sample = self._hand.get(sample_id)
            # A sample put back and offered anew may still see its old publishes acknowledged.
            if sample is not None and sample.serial == publish.serial:
                sample.unacknowledged -= 1
                sample.since = now

    # Offers

    def _advance(self, now: float) -> None:
        if self._may_offer(now):
            limit = (
                1
                if self._hearing.is_silent
                else min(OFFER_MAX_SAMPLES, MAX_IN_HAND - len(self._hand))
            )
            excluding = self._history.resting(now) | self._hand.keys()
            self._fetching = True
            self._actions.append(e.FetchSamples(limit, frozenset(excluding)))
        else:
            self._actions += next_chunks(
                self._hand, self._flight, self._strikes, self._pace.chunk_bytes, now
            )

    def _may_offer(self, now: float) -> bool:
        window = self._pace.window_bytes
        return (
            self._hearing.may_ask(now, waiting=self._hand.any_offered())
            and not (self._hearing.is_silent and self._hand)
            and len(self._hand) < MAX_IN_HAND
            and self._hand.wanted_bytes() < _LOW_WATER_WINDOWS * window
            and self._flight.room() >= min(OFFER_MAX_BYTES, window // 2)
        )

    def _offer(self, fetched: e.SamplesFetched, now: float) -> None:
        self._fetching = False
        if not self._connected:
            return
        fresh = [
            candidate
            if self._strikes.travels_inline(candidate)
            else replace(candidate, inline=None)
            for candidate in fetched.candidates
            if candidate.description.sample_id not in self._hand
        ]
        room = min(OFFER_MAX_BYTES, self._flight.room())
        # A description alone may be larger than a small window; then it travels by itself.
        first = room if len(self._flight) else OFFER_MAX_BYTES
        packed = pack(fresh, room, first, inline=self._hearing.speaks)
        for sample_id, reason in packed.unusable:
            self._quarantine(sample_id, reason)
        if len(fetched.candidates) < fetched.asked and len(packed.candidates) == len(fresh):
            self._hearing.pause(now + POLL_S)
        if packed.candidates:
            self._publish_offer(packed, now)

    def _publish_offer(self, packed: Packed, now: float) -> None:
        serial = self._hearing.next_serial()
        inline = []
        for candidate, description in zip(packed.candidates, packed.descriptions, strict=True):
            attempts, missing = candidate.attempts, candidate.missing
            sample = InHand(candidate, serial, now, attempts, missing, unacknowledged=1)
            if description.payload is not None:
                sample.asked = description.payload_size
                inline.append(sample)
            self._hand[description.sample_id] = sample
        self._actions += self._strikes.begin(inline)
        ids = tuple(description.sample_id for description in packed.descriptions)
        token = self._flight.launch(ids, serial, packed.size, now, pixels=False)
        self._actions.append(e.PublishOffer(token, Offer(samples=packed.descriptions)))

    # Base's answers

    def _want(self, want: Want, now: float) -> None:
        self._hear(now)
        for answer in want.answers:
            sample = self._hand.get(answer.sample_id)
            if sample is None:
                continue
            self._hearing.answered(sample.serial)
            if answer.ask == "later":
                self._put_off(sample, answer, now)
            else:
                self._hearing.took()
                self._wanted(sample, answer, now)

    def _put_off(self, sample: InHand, answer: Answer, now: float) -> None:
        sample_id = sample.sample_id
        asked_s = answer.retry_after_s
        wait_s = self._settings.offer_timeout_s if asked_s is None else asked_s
        shortest_s = POLL_S * 2 ** min(self._history.put_off(sample_id) - 1, _PUT_OFF_DOUBLINGS)
        until = now + min(max(wait_s, shortest_s), MAX_LATER_S)
        self._history.rest(sample_id, until, asked_by_base=True)
        self._hearing.put_off(now)
        if sample.attempting:
            if sample.step is Step.OFFERED:  # its pixels were in the offer
                self._history.delivered(sample_id, sample.asked)
            self._actions += refund([sample_id])
        del self._hand[sample_id]

    def _wanted(self, sample: InHand, answer: Answer, now: float) -> None:
        size = sample.candidate.description.payload_size
        spans = ranges.normalised(answer.missing, size)
        missing = ranges.total(spans)
        if sample.step is not Step.OFFERED and not (
            # A doubled want must not send everything twice; one that lacks less is news.
            sample.step is Step.SENT
            and not sample.unacknowledged
            and missing
            and is_progress(sample.asked, missing, size)
        ):
            return
        if not missing:
            self._leave_unanswered(sample, now, "base wants it, but names no bytes of it")
            return
        progress = is_progress(sample.missing, missing, size)
        self._history.wanted(sample.sample_id, progress=progress)
        if sample.step is Step.OFFERED:
            sample.attempting = False
            if progress and sample.attempts:
                sample.attempts -= 1
                self._actions += refund([sample.sample_id])
        given_up = self._strikes.verdict(sample, missing)
        if given_up is not None:
            del self._hand[sample.sample_id]
            self._quarantine(sample.sample_id, given_up)
            return
        sample.suspect = self._strikes.is_suspect(sample.candidate, sample.attempts)
        sample.asked = missing
        sample.spans = deque(spans)
        sample.step = Step.WANTED
        sample.since = now

    def _settle(self, receipt: Receipt, now: float) -> None:
        self._hear(now)
        for settlement in receipt.settlements:
            sample = self._hand.pop(settlement.sample_id, None)
            if sample is not None:
                self._hearing.answered(sample.serial)
            self._history.settled(settlement.sample_id)
        self._hearing.took()
        self._actions.append(e.Settle(receipt.settlements))

    def _hear(self, now: float) -> None:
        if self._hearing.heard(now):
            self._history.wake()

    def _give_up_payload(self, unusable: e.PayloadUnusable) -> None:
        self._flight.cancelled(unusable.token)
        self._hand.pop(unusable.sample_id, None)
        self._history.forget(unusable.sample_id)
        if unusable.reason is not None:
            self._quarantine(unusable.sample_id, unusable.reason)

    # Silence

    def _expire(self, now: float) -> None:
        oldest = self._flight.oldest()
        if oldest is not None and now - oldest >= self._settings.ack_timeout_s:
            self._actions.append(
                e.DropLink(f"nothing acknowledged for {self._settings.ack_timeout_s:g} s")
            )
        late = self._hand.late(now - self._settings.offer_timeout_s)
        if late and all(self._hearing.was_silent_since(sample.since) for sample in late):
            self._hearing.silence(now)
            self._hold_pixels_back()
        for sample in late:
            self._leave_unanswered(sample, now, "base answers others, but never this one")

    def _hold_pixels_back(self) -> None:
        """Pixels sent into a silence may be lost, and would count against their samples."""
        waiting = self._hand.at(Step.WANTED)
        self._actions += refund(sample.sample_id for sample in waiting if sample.attempting)
        for sample in waiting:
            del self._hand[sample.sample_id]

    def _leave_unanswered(self, sample: InHand, now: float, reason: str) -> None:
        sample_id = sample.sample_id
        del self._hand[sample_id]
        times = self._history.unanswered(sample_id)
        passed_over = sample.step is Step.OFFERED and self._hearing.has_answered(sample.serial)
        if times > 1 or passed_over:
            wait_s = self._settings.offer_timeout_s * 2 ** min(max(times - 2, 0), MAX_DOUBLINGS)
            self._history.rest(sample_id, now + wait_s, asked_by_base=False)
        if passed_over and not sample.attempting:
            size = sample.candidate.description.payload_size
            sample.asked = size if sample.missing is None else sample.missing
            self._actions += self._strikes.begin([sample])
            if self._strikes.used_up(sample.attempts):
                self._quarantine(sample_id, reason)

    def _quarantine(self, sample_id: str, reason: str) -> None:
        self._history.forget(sample_id)
        self._actions.append(e.Quarantine(sample_id, reason))
