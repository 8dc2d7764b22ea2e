"""Whose fault is it? The bookkeeping of attempts. Pure.

**Three strikes.** An attempt is one start of sending a sample's pixels, persisted before the
first byte leaves, together with how much base lacked then. What could be the sample's own fault
stays counted; what could not is refunded:

| what happened during the attempt                            | the attempt     |
|-------------------------------------------------------------|-----------------|
| this process died                                           | stays: a strike |
| base stayed silent for `offer_timeout_s` while the link was up | stays: a strike |
| base asked again, and had not got on (`is_progress`)        | stays: a strike |
| base had got on                                             | refunded        |
| base said `later`, or fell silent before all was sent       | refunded        |
| the link broke, or the daemon was stopped                   | refunded (1)    |

(1) Unless it broke more than `max_attempts` times with this very sample on the wire, while
others came through in between: some payloads make a broker hang up.

Base answering others, but never an offer of this one, is a strike as well, and so is a want that
names no bytes. A sample that has used up its attempts is still offered (base may know it by
now), and goes to quarantine when base wants its pixels once more. A suspect, with one attempt
left or with two links in a row broken under it, goes when the others are through, and alone on
the wire: so power cuts on a busy link seldom take an innocent's last attempt, and what breaks
the link holds nobody up.

Refunds could go on for ever; so, whatever base says, a sample of which the broker took
`MAX_SENDINGS` times its size goes to quarantine when base wants it again.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.uplink.events import Action, Candidate, MarkAttempts, RefundAttempts
from edge_agent.uplink.hand import Hand, InHand
from edge_agent.uplink.history import History
from sync_protocol.messages import CHUNK_MIN_DATA

MAX_SENDINGS = 4
"""Times its own size that a sample may cost before it is given up."""


def is_progress(before: int | None, missing: int, payload_size: int) -> bool:
    """Whether base, lacking `before` bytes at first and `missing` now, has got on.

    It has by a chunk, by a tenth of the payload, or by half of what it lacked.
    """
    if before is None:
        return False
    step = min(CHUNK_MIN_DATA, -(-payload_size // 10), -(-before // 2))
    return before - missing >= max(step, 1)


class Strikes:
    """Counts attempts, and says who is suspect and who has had enough."""

    def __init__(self, max_attempts: int, history: History) -> None:
        self._max_attempts = max_attempts
        self._history = history

    def is_suspect(self, candidate: Candidate, attempts: int) -> bool:
        """One more strike, and it goes to quarantine; or the link broke on it twice in a row."""
        cuts = self._history.cuts(candidate.description.sample_id)
        return 0 < attempts >= self._max_attempts - 1 or cuts > 1

    def travels_inline(self, candidate: Candidate) -> bool:
        """Whether its pixels may go out before base has asked for them."""
        size = candidate.description.payload_size
        spent = self._overspent(candidate.description.sample_id, size)
        return not spent and not self.is_suspect(candidate, candidate.attempts)

    def used_up(self, attempts: int) -> bool:
        """No attempt is left."""
        return attempts >= self._max_attempts

    def verdict(self, sample: InHand, missing: int) -> str | None:
        """Why a sample of which base still lacks `missing` bytes is given up, None if it is not."""
        if missing and not sample.attempting and self.used_up(sample.attempts):
            return f"sent {sample.attempts} times in vain: base still lacks {missing} bytes"
        size = sample.candidate.description.payload_size
        if missing and self._overspent(sample.sample_id, size):
            return f"sent {MAX_SENDINGS} times over: base still lacks {missing} of {size} bytes"
        return None

    def begin(self, samples: Iterable[InHand]) -> list[Action]:
        """An attempt begins for each."""
        missing = {}
        for sample in samples:
            sample.attempts += 1
            sample.attempting = True
            sample.missing = missing[sample.sample_id] = sample.asked
        return [MarkAttempts(missing)] if missing else []

    def cut_off(self, hand: Hand) -> list[Action]:
        """The link broke with these in hand."""
        refunded = []
        for sample_id, sample in hand.items():
            blamed = self._history.cut_off(sample_id) if sample.unacknowledged else 0
            if sample.attempting and blamed <= self._max_attempts:
                refunded.append(sample_id)
        return refund(refunded)

    def _overspent(self, sample_id: str, payload_size: int) -> bool:
        return self._history.delivered_bytes(sample_id) >= MAX_SENDINGS * payload_size


def refund(sample_ids: Iterable[str]) -> list[Action]:
    """One attempt of each was not its fault."""
    ids = tuple(sample_ids)
    return [RefundAttempts(ids)] if ids else []
