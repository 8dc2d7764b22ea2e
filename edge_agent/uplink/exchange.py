"""The device's side of the exchange: events in, actions out. Pure; time is an argument.

A sample is offered, wanted, sent in chunks, and settled by base's receipt; nothing else takes
it out of the outbox. The link may break, base may fall silent or forget, messages may be lost,
doubled or late: whatever is unclear is offered again, and base answers with what it still lacks.

**Three strikes.** An attempt is one start of sending a sample's pixels, persisted before the
first byte leaves, together with how much base lacked then. What could be the sample's own fault
stays counted; what could not is refunded:

| what happened during the attempt                            | the attempt     |
|-------------------------------------------------------------|-----------------|
| this process died                                           | stays: a strike |
| base stayed silent for `offer_timeout_s` while the link was up | stays: a strike |
| base asked again for as many bytes as before                | stays: a strike |
| base lacks fewer bytes than before                          | refunded        |
| base said `later`, or fell silent before all was sent       | refunded        |
| the link broke, or the daemon was stopped                   | refunded (1)    |

(1) Unless it broke more than `max_attempts` times with this very sample on the wire, while
others came through in between: some payloads make a broker hang up.

Base answering others, but never an offer of this one, is a strike as well. A sample that has
used up its attempts is still offered (base may know it by now), and goes to quarantine when base
wants its pixels once more. A suspect, with one attempt left or with two links in a row broken
under it, goes when the others are through, and alone on the wire: so power cuts on a busy link
seldom take an innocent's last attempt, and what breaks the link holds nobody up.

While base is silent, no pixels go out at all: lone offers probe for it, more and more rarely, so
an outage costs the queue no strikes and the link few bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from edge_agent.uplink import events as e
from edge_agent.uplink import ranges
from edge_agent.uplink.flight import InFlight
from edge_agent.uplink.hand import Hand, InHand, Step
from edge_agent.uplink.history import MAX_RESTING, History
from edge_agent.uplink.pacing import Pace
from edge_agent.uplink.packing import Packed, pack
from edge_agent.uplink.settings import UplinkSettings
from sync_protocol.messages import OFFER_MAX_BYTES, OFFER_MAX_SAMPLES, Answer, Offer, Receipt, Want

MAX_IN_HAND = 2 * OFFER_MAX_SAMPLES
POLL_S = 1.0
"""How often an empty outbox is looked at."""
_LOW_WATER_WINDOWS = 4  # offer more when fewer windows' worth of wanted bytes are left
_MAX_DOUBLINGS = 4


class Exchange:
    """The state of one device's exchange with base, over any number of connections."""

    def __init__(self, settings: UplinkSettings) -> None:
        self._settings = settings
        self._pace = Pace(settings.window, settings.chunk_bytes)
        self._flight = InFlight(self._pace)
        self._history = History()
        self._hand = Hand()
        self._actions: list[e.Action] = []
        self._connected = False
        self._fetching = False
        self._fetch_after = float("-inf")
        self._serial = 0  # of the latest offer
        self._heard_serial = 0  # of the latest offer that base answered in part
        self._heard_at = float("-inf")
        self._base_speaks = False
        self._silent_rounds = 0

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
                self._connect()
            case e.Disconnected():
                self._disconnect(now)
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

    def _connect(self) -> None:
        self._connected = True
        self._silent_rounds = 0
        self._fetch_after = float("-inf")

    def _disconnect(self, now: float) -> None:
        refunded = []
        for sample_id, sample in self._hand.items():
            blamed = 0
            if sample.unacknowledged:
                blamed = self._history.cut_off(sample_id)
            if sample.attempting and blamed <= self._settings.max_attempts:
                refunded.append(sample_id)
        self._refund(refunded)
        self._hand.clear()
        self._flight.cut_off()
        self._connected = self._fetching = False

    def _acknowledge(self, token: int, now: float) -> None:
        publish = self._flight.acknowledged(token, now)
        if publish is None:
            return
        for sample_id in publish.sample_ids:
            sample = self._hand.get(sample_id)
            # A sample put back and offered anew may still see its old publishes acknowledged.
            if sample is not None and sample.serial == publish.serial:
                sample.unacknowledged -= 1
                sample.since = now

    # Offers

    def _advance(self, now: float) -> None:
        if self._may_offer(now):
            silent = self._silent_rounds > 0
            limit = 1 if silent else min(OFFER_MAX_SAMPLES, MAX_IN_HAND - len(self._hand))
            excluding = self._history.resting(now) | self._hand.keys()
            self._fetching = True
            self._actions.append(e.FetchSamples(limit, frozenset(excluding)))
        else:
            self._send_chunks(now)

    def _may_offer(self, now: float) -> bool:
        window = self._pace.window_bytes
        return (
            now >= self._fetch_after
            and (self._heard_serial >= self._serial or not self._hand.any_offered())
            and not (self._silent_rounds and self._hand)
            and len(self._hand) < MAX_IN_HAND
            and self._hand.wanted_bytes() < _LOW_WATER_WINDOWS * window
            and self._flight.room() >= min(OFFER_MAX_BYTES, window // 2)
            and len(self._history.resting(now)) < MAX_RESTING
        )

    def _offer(self, fetched: e.SamplesFetched, now: float) -> None:
        self._fetching = False
        if not self._connected:
            return
        fresh = [
            replace(candidate, inline=None) if self._is_suspect(candidate) else candidate
            for candidate in fetched.candidates
            if candidate.description.sample_id not in self._hand
        ]
        room = min(OFFER_MAX_BYTES, self._flight.room())
        # A description alone may be larger than a small window; then it travels by itself.
        first = room if len(self._flight) else OFFER_MAX_BYTES
        packed = pack(fresh, room, first, inline=self._base_speaks)
        for sample_id, reason in packed.unusable:
            self._quarantine(sample_id, reason)
        if len(fetched.candidates) < fetched.asked and len(packed.candidates) == len(fresh):
            self._fetch_after = now + POLL_S
        if packed.candidates:
            self._publish_offer(packed, now)

    def _publish_offer(self, packed: Packed, now: float) -> None:
        self._serial += 1
        inline = []
        for candidate, description in zip(packed.candidates, packed.descriptions, strict=True):
            sample = InHand(
                candidate,
                self._serial,
                now,
                candidate.attempts,
                candidate.missing,
                unacknowledged=1,
            )
            if description.payload is not None:
                sample.asked = description.payload_size
                inline.append(sample)
            self._hand[description.sample_id] = sample
        self._start_attempts(inline)
        ids = tuple(description.sample_id for description in packed.descriptions)
        token = self._flight.launch(ids, self._serial, packed.size, now)
        self._actions.append(e.PublishOffer(token, Offer(samples=packed.descriptions)))

    # Base's answers

    def _want(self, want: Want, now: float) -> None:
        self._hear(now)
        for answer in want.answers:
            sample = self._hand.get(answer.sample_id)
            if sample is None:
                continue
            self._heard_serial = max(self._heard_serial, sample.serial)
            if answer.ask == "later":
                self._put_off(sample, answer, now)
            else:
                self._wanted(sample, answer, now)

    def _put_off(self, sample: InHand, answer: Answer, now: float) -> None:
        wait_s = answer.retry_after_s
        until = now + (self._settings.offer_timeout_s if wait_s is None else wait_s)
        self._history.rest(answer.sample_id, until, asked_by_base=True)
        if sample.attempting:
            self._refund([answer.sample_id])
        del self._hand[answer.sample_id]

    def _wanted(self, sample: InHand, answer: Answer, now: float) -> None:
        description = sample.candidate.description
        spans = ranges.normalised(answer.missing, description.payload_size)
        missing = ranges.total(spans)
        if sample.step is not Step.OFFERED and not (
            # A doubled want must not send everything twice; one that lacks less is news.
            sample.step is Step.SENT and not sample.unacknowledged and 0 < missing < sample.asked
        ):
            return
        progress = sample.missing is not None and missing < sample.missing
        self._history.wanted(answer.sample_id, progress=progress)
        if sample.step is Step.OFFERED:
            sample.attempting = False
            if progress and sample.attempts:
                sample.attempts -= 1
                self._refund([answer.sample_id])
            if missing and self._used_up(sample.attempts):
                reason = f"sent {sample.attempts} times in vain: base still lacks {missing} bytes"
                del self._hand[answer.sample_id]
                self._quarantine(answer.sample_id, reason)
                return
        sample.suspect = self._is_suspect(sample.candidate, sample.attempts)
        sample.asked = missing
        sample.spans = deque(spans)
        sample.step = Step.WANTED if spans else Step.SENT
        sample.since = now

    def _settle(self, receipt: Receipt, now: float) -> None:
        self._hear(now)
        for settlement in receipt.settlements:
            sample = self._hand.pop(settlement.sample_id, None)
            if sample is not None:
                self._heard_serial = max(self._heard_serial, sample.serial)
            self._history.settled(settlement.sample_id)
        self._actions.append(e.Settle(receipt.settlements))

    def _hear(self, now: float) -> None:
        self._heard_at = now
        self._base_speaks = True
        if self._silent_rounds:
            self._silent_rounds = 0
            self._fetch_after = float("-inf")
            self._history.wake()

    # Pixels

    def _send_chunks(self, now: float) -> None:
        started: list[InHand] = []
        chunks: list[e.Action] = []
        while (sample := self._hand.next_wanted()) is not None:
            size = sample.next_size(self._pace.chunk_bytes)
            if size > self._flight.room() or self._in_company(sample):
                break
            if not sample.attempting:
                started.append(sample)
                sample.attempting = True
            offset, end = sample.take(size, now)
            description = sample.candidate.description
            ids = (description.sample_id,)
            token = self._flight.launch(ids, sample.serial, size, now)
            chunks.append(e.PublishChunk(token, description, offset, end))
        self._start_attempts(started)
        self._actions += chunks

    def _in_company(self, sample: InHand) -> bool:
        """Whether a suspect would share the wire with others.

        What kills the process takes an attempt of all that is on the wire; alone, each sample
        answers for itself only.
        """
        if sample.suspect:
            own = sample.unacknowledged if sample.attempting else 0
            return len(self._flight) > own or self._hand.any_offered()
        return any(other.suspect and other.unacknowledged for other in self._hand.values())

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
        if late and all(self._heard_at <= sample.since for sample in late):
            self._notice_silence(now)
        for sample in late:
            self._leave_unanswered(sample, now)

    def _notice_silence(self, now: float) -> None:
        self._base_speaks = False
        doublings = min(self._silent_rounds, _MAX_DOUBLINGS)
        self._fetch_after = now + self._settings.offer_timeout_s * (2**doublings - 1)
        self._silent_rounds += 1
        # Pixels sent into a silence may be lost, and would count against their samples.
        waiting = self._hand.at(Step.WANTED)
        self._refund([sample.sample_id for sample in waiting if sample.attempting])
        for sample in waiting:
            del self._hand[sample.sample_id]

    def _leave_unanswered(self, sample: InHand, now: float) -> None:
        sample_id = sample.sample_id
        del self._hand[sample_id]
        times = self._history.unanswered(sample_id)
        if times > 1:
            wait_s = self._settings.offer_timeout_s * 2 ** min(times - 2, _MAX_DOUBLINGS)
            self._history.rest(sample_id, now + wait_s, asked_by_base=False)
        passed_over = sample.step is Step.OFFERED and sample.serial <= self._heard_serial
        if passed_over and not sample.attempting:
            sample.asked = sample.candidate.description.payload_size
            if sample.missing is not None:
                sample.asked = sample.missing
            self._start_attempts([sample])
            if self._used_up(sample.attempts):
                self._quarantine(sample_id, "base answers others, but never this one")

    # Attempts

    def _is_suspect(self, candidate: e.Candidate, attempts: int | None = None) -> bool:
        """One more strike, and it goes to quarantine; or the link broke on it twice in a row."""
        count = candidate.attempts if attempts is None else attempts
        cuts = self._history.cuts(candidate.description.sample_id)
        return 0 < count >= self._settings.max_attempts - 1 or cuts > 1

    def _used_up(self, attempts: int) -> bool:
        return attempts >= self._settings.max_attempts

    def _start_attempts(self, samples: Iterable[InHand]) -> None:
        missing = {}
        for sample in samples:
            sample.attempts += 1
            sample.attempting = True
            sample.missing = missing[sample.sample_id] = sample.asked
        if missing:
            self._actions.append(e.MarkAttempts(missing))

    def _refund(self, sample_ids: list[str]) -> None:
        if sample_ids:
            self._actions.append(e.RefundAttempts(tuple(sample_ids)))

    def _quarantine(self, sample_id: str, reason: str) -> None:
        self._history.forget(sample_id)
        self._actions.append(e.Quarantine(sample_id, reason))
