"""The samples that the exchange has in hand: offered, and not yet settled or put back. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from edge_agent.uplink import ranges
from edge_agent.uplink.events import Candidate


class Step(Enum):
    """How far a sample is."""

    OFFERED = auto()
    WANTED = auto()
    """Base asked for pixels, and some of them are still to be handed to the link."""
    SENT = auto()
    """All that base asked for was handed to the link; its receipt is due."""


@dataclass(slots=True)
class InHand:
    """One sample on its way."""

    candidate: Candidate
    serial: int
    """Of the offer it was in."""
    since: float
    """When it last moved."""
    attempts: int
    missing: int | None
    """Bytes that base lacked when the latest attempt began; None before any."""
    step: Step = Step.OFFERED
    spans: deque[ranges.Span] = field(default_factory=deque)
    """Wanted, and still to be handed to the link."""
    asked: int = 0
    """Bytes of the latest want, or of the pixels in the offer."""
    unacknowledged: int = 0
    """Its publishes on their way."""
    attempting: bool = False
    """An attempt is persisted for it, and neither refunded nor left as a strike."""

    suspect: bool = False
    """It may be its own fault that it is still here: it goes last, and alone."""

    @property
    def sample_id(self) -> str:
        return self.candidate.description.sample_id

    def next_size(self, chunk_bytes: int) -> int:
        """Bytes of the next chunk."""
        offset, end = self.spans[0]
        return min(end - offset, chunk_bytes)

    def take(self, size: int, now: float) -> ranges.Span:
        """The next `size` bytes, from now on with the link."""
        offset, end = self.spans.popleft()
        if offset + size < end:
            self.spans.appendleft((offset + size, end))
        elif not self.spans:
            self.step = Step.SENT
        self.unacknowledged += 1
        self.since = now
        return offset, offset + size


class Hand(dict[str, InHand]):
    """By sample id."""

    def at(self, step: Step) -> list[InHand]:
        """Those at one step."""
        return [sample for sample in self.values() if sample.step is step]

    def any_offered(self) -> bool:
        """Whether any waits for base's first answer."""
        return any(sample.step is Step.OFFERED for sample in self.values())

    def wanted_bytes(self) -> int:
        """Bytes that base wants and the link has not got yet."""
        return sum(ranges.total(sample.spans) for sample in self.values())

    def next_wanted(self) -> InHand | None:
        """The most valuable sample with pixels to send; suspects come last."""
        return max(
            self.at(Step.WANTED),
            key=lambda sample: (not sample.suspect, sample.candidate.priority),
            default=None,
        )

    def late(self, before: float) -> list[InHand]:
        """Those that wait for base, all with the broker, and last moved at `before` or earlier."""
        return [
            sample
            for sample in self.values()
            if sample.step is not Step.WANTED
            and not sample.unacknowledged
            and sample.since <= before
        ]
